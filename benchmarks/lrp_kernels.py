"""LRP's kernels against the expressions that people write in torch, and against those compiled by torch.

python benchmarks/lrp_kernels.py [--device cpu|cuda] [--out FILE.md] [--only OP ...]

All in float32. Results are compared before anything is timed: bit for bit where the expression is the same operations.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from _lrp_expressions import Case, elementwise_cases, first_layer_cases, kept_cases
from _timing import Timing, machine, time_in_turns

from xaipipe.ops import _library

SIZES = ((100_000, 0), (1_000_000, 0), (10_000_000, 0), (1_000_000, 10))
"""Elements and targets; 1e6 is about what a layer of a ResNet-50 puts out for an image of 224²."""
IMAGES = (1, 16)
HEADER = """| op | size | what | median µs | best µs | GB/s at best | best, ours = 1 | agrees |
|---|---|---|---:|---:|---:|---:|---|"""


def cases(device: str) -> Iterator[Case]:
    for size, targets in SIZES:
        yield from elementwise_cases(size, targets, device)
    for size, targets in SIZES:
        yield from kept_cases(size, targets, device)
    for images in IMAGES:
        yield from first_layer_cases(images, device)


def agreement(case: Case, expression: Callable[..., tuple[torch.Tensor, ...]]) -> str:
    """'bitwise', or how far apart, within the tolerance of the case: asserted."""
    got, expected = expression(*case.tensors), case.ours(*case.tensors)
    if all(torch.equal(one, other) for one, other in zip(got, expected, strict=False)):
        return "bitwise"
    for one, other in zip(got, expected, strict=False):
        limit = case.tolerance * other.abs().max().item()
        torch.testing.assert_close(one, other, rtol=0, atol=limit)
    return f"to {case.tolerance:.0e} of the largest"


def rows(case: Case, device: str) -> Iterator[str]:
    peers = dict(case.expressions)
    for name, expression in case.expressions.items() if case.compiled else ():
        peers[f"{name}, torch.compile"] = torch.compile(expression, dynamic=True)
    agrees = {name: agreement(case, peer) for name, peer in peers.items()}
    candidates: dict[str, Callable[[], object]] = {
        name: lambda run=run: run(*case.tensors) for name, run in {"**ours**": case.ours, **peers}.items()
    }
    timings = time_in_turns(candidates, device, repeats=15 if case.bytes > 2e7 else 60)
    for name, timing in timings.items():
        yield row(case, name, timing, timings["**ours**"], agrees.get(name, ""))


def row(case: Case, name: str, timing: Timing, reference: Timing, agrees: str) -> str:
    cells = (
        case.name,
        case.size,
        name,
        f"{timing.median * 1e6:.1f}",
        f"{timing.best * 1e6:.1f}",
        f"{case.bytes / timing.best / 1e9:.1f}",
        f"{timing.best / reference.best:.2f}",
        agrees,
    )
    return f"| {' | '.join(cells)} |"


def preamble(device: str) -> str:
    info = _library.kernels().build_info()
    if not info["cuda"]:
        cuda = "CUDA: not in this build"
    elif device == "cuda":
        cuda = f"CUDA: {info['cuda_version']}, architectures {info['cuda_architectures']}"
    else:
        cuda = "CUDA: compiled, not run on a GPU"
    return (
        f"# LRP's kernels, {device}\n\n"
        f"{datetime.date.today().isoformat()}. {machine(device)}. Instruction set: {info['isa_in_use']}, "
        f"{info['compiler']}.\n{cuda}\n\n"
        "float32. Rates and ratios are of the best times: a median far above its best means that other programs had "
        "the cores. GB/s counts every operand read once and every result written once. All allocate their results, "
        "which for large ones means fresh pages from the operating system. '10 × 1e+06' are ten targets that share "
        "one million activations.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="also write the table to this Markdown file")
    parser.add_argument("--only", nargs="+", metavar="OP", help="some ops")
    arguments = parser.parse_args()
    lines = [preamble(arguments.device), HEADER]
    print(*lines, sep="\n")
    for case in cases(arguments.device):
        if arguments.only is None or case.name in arguments.only:
            for line in rows(case, arguments.device):
                lines.append(line)
                print(line, flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
