"""Transposed convolutions as xaipipe asks for them, against the library's own way back through a convolution.

python benchmarks/convolutions.py [--batch 1 4] [--repeats 9] [--out FILE.md]

Both are compared before they are timed, and take turns.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import torch
from _timing import machine, time_in_turns
from torch.nn import functional as F

from xaipipe.propagation.transposing import transposed
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
HEADER = """| convolution | images | library, ms | ours, ms | library / ours | largest difference |
|---|---:|---:|---:|---:|---:|"""
TOLERANCE = 1e-5


def row(name: str, batch: int, repeats: int) -> str:
    inputs, outputs, size, kernel, stride, padding = SHAPES[name]
    torch.manual_seed(0)
    weight = torch.randn(outputs, inputs, kernel, kernel) / kernel
    like = torch.randn(batch, inputs, size, size)
    cotangents = torch.randn_like(F.conv2d(like, weight, None, stride, padding))
    form = Convolution((stride,) * 2, (padding,) * 2, (1, 1), 1)
    if transposed(form, cotangents, weight, like.shape[2:]) is None:
        return f"| {name} | {batch} | | as the library | | |"

    def library() -> torch.Tensor:
        geometry = ((stride,) * 2, (padding,) * 2, (1, 1), False, (0, 0), 1)
        return torch.ops.aten.convolution_backward(cotangents, like, weight, None, *geometry, [True, False, False])[0]

    def ours() -> torch.Tensor:
        return form.pull(cotangents[None], weight, like)[0]

    difference = float((library() - ours()).abs().max() / library().abs().max())
    assert difference < TOLERANCE, f"{name}: differs by {difference:.1e}"
    times = time_in_turns({"library": library, "ours": ours}, "cpu", repeats)
    theirs, own = times["library"].best * 1e3, times["ours"].best * 1e3
    return f"| {name} | {batch} | {theirs:.2f} | {own:.2f} | {theirs / own:.1f} | {difference:.0e} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = ["# Transposed convolutions", "", f"{machine('cpu')}, {datetime.date.today().isoformat()}", "", HEADER]
    print("\n".join(lines))
    for name in SHAPES:
        for batch in arguments.batch:
            lines.append(row(name, batch, arguments.repeats))
            print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
