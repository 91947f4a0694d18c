"""Convolutions and their transposes as xaipipe asks for them, against the library's own.

python benchmarks/convolutions.py [--batch 1 4] [--repeats 9] [--out FILE.md]

Both are compared before they are timed, and take turns.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from _timing import machine, time_in_turns
from torch import Tensor
from torch.nn import functional as F

from xaipipe.propagation.convolving import convolved, transposed
from xaipipe.propagation.weighted import Convolution

SHAPES = {
    "first of a ResNet": (3, 64, 224, 7, 2, 3),
    "first of a MobileNet": (3, 32, 224, 3, 2, 1),
    "first of a VGG": (3, 64, 224, 3, 1, 1),
    "patches of a ConvNeXt": (3, 96, 224, 4, 4, 0),
    "patches of a ViT": (3, 768, 224, 16, 16, 0),
    "merged patches": (96, 192, 56, 2, 2, 0),
    "points, narrowing": (256, 64, 56, 1, 1, 0),
    "points, widening": (64, 256, 56, 1, 1, 0),
    "points, deep": (1024, 256, 14, 1, 1, 0),
    "points, deepest": (2048, 512, 7, 1, 1, 0),
    "points, every other": (256, 512, 56, 1, 2, 0),
    "points, every other, deep": (1024, 2048, 14, 1, 2, 0),
    "3 × 3": (128, 128, 28, 3, 1, 1),
    "3 × 3, every other": (128, 128, 56, 3, 2, 1),
}
"""Channels in and out, size, kernel, stride, padding."""
HEADER = """| convolution | way | images | library, ms | ours, ms | library / ours | largest difference |
|---|---|---:|---:|---:|---:|---:|"""
TOLERANCE = 1e-5


def rows(name: str, batch: int, repeats: int) -> Iterator[str]:
    inputs, outputs, size, kernel, stride, padding = SHAPES[name]
    torch.manual_seed(0)
    weight, bias = torch.randn(outputs, inputs, kernel, kernel) / kernel, torch.randn(outputs)
    x = torch.randn(batch, inputs, size, size)
    cotangents = torch.randn_like(F.conv2d(x, weight, None, stride, padding))
    form = Convolution((stride,) * 2, (padding,) * 2, (1, 1), 1)
    geometry = ((stride,) * 2, (padding,) * 2, (1, 1), False, (0, 0), 1)

    def forward() -> Tensor:
        return torch.ops.aten.convolution(x, weight, bias, *geometry)

    def back() -> Tensor:
        return torch.ops.aten.convolution_backward(cotangents, x, weight, None, *geometry, [True, False, False])[0]

    label = f"| {name} | {{}} | {batch} |"
    if convolved(form, x, weight, bias) is not None:
        yield label.format("forward, for a rule") + _compared(forward, lambda: form.beside(x, weight, bias), repeats)
    if transposed(form, cotangents, weight, x.shape[2:]) is not None:
        yield label.format("back") + _compared(back, lambda: form.pull(cotangents[None], weight, x)[0], repeats)
    else:
        yield label.format("back") + " | as the library | | |"


def _compared(library: Callable[[], Tensor], ours: Callable[[], Tensor], repeats: int) -> str:
    difference = float((library() - ours()).abs().max() / library().abs().max())
    assert difference < TOLERANCE, f"differs by {difference:.1e}"
    times = time_in_turns({"library": library, "ours": ours}, "cpu", repeats)
    theirs, own = times["library"].best * 1e3, times["ours"].best * 1e3
    return f" {theirs:.2f} | {own:.2f} | {theirs / own:.1f} | {difference:.0e} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = [
        "# Convolutions and their transposes",
        "",
        f"{machine('cpu')}, {datetime.date.today().isoformat()}",
        "",
        HEADER,
    ]
    print("\n".join(lines))
    for name in SHAPES:
        for batch in arguments.batch:
            for line in rows(name, batch, arguments.repeats):
                lines.append(line)
                print(line, flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
