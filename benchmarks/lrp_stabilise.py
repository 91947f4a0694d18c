"""LRP's stabilised division against the expressions that people write in torch.

python benchmarks/lrp_stabilise.py [--device cpu|cuda] [--out FILE.md]

Memory bounds it: an element costs two reads and one write, 12 bytes in float32. GB/s counts those bytes only.
"""

import argparse
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from _timing import Timing, machine, time_in_turns
from torch import Tensor

from xaipipe.ops import _library, stabilised_divide

SIZES = (10_000, 100_000, 1_000_000, 10_000_000, 30_000_000)
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
EPS = 1e-6
# float32 has to agree bit for bit. `torch.where(condition, 1.0, -1.0)` is float32 even beside float64, so that
# eps is rounded to float32; in bfloat16 torch rounds after each of its operators.
TOLERANCES = {torch.float32: 0.0, torch.float64: 1e-7, torch.bfloat16: 2e-2}
HEADER = """| dtype | elements | what | median µs | best µs | GB/s at best | best, ours = 1 | agrees |
|---|---:|---|---:|---:|---:|---:|---|"""


def where(relevance: Tensor, z: Tensor) -> Tensor:
    return relevance / (z + EPS * torch.where(z >= 0, 1.0, -1.0))


def sign(relevance: Tensor, z: Tensor) -> Tensor:
    return relevance / (z + ((z == 0.0) + z.sign()) * EPS)


def ours(relevance: Tensor, z: Tensor) -> Tensor:
    return stabilised_divide(relevance, z, EPS)


where_compiled = torch.compile(where, dynamic=True)

PEERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "`where` expression": where,
    "`sign` expression": sign,
    "`where`, torch.compile": where_compiled,
}


def operands(size: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """Normal numbers; every tenth z is a zero, every other one of these −0.0."""
    generator = torch.Generator().manual_seed(0)
    relevance = torch.randn(size, generator=generator)
    z = torch.randn(size, generator=generator)
    z[::20] = 0.0
    z[10::20] = -0.0
    return relevance.to(device, dtype), z.to(device, dtype)


def agreement(got: Tensor, expected: Tensor) -> str:
    """'bitwise', or the tolerance, asserted; and the dtype where torch promoted it."""
    promoted = "" if got.dtype == expected.dtype else f", result {got.dtype}".replace("torch.", "")
    got = got.to(expected.dtype)
    if torch.equal(got, expected):
        return f"bitwise{promoted}"
    tolerance = TOLERANCES[expected.dtype]
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=0)
    return f"to {tolerance:.0e}{promoted}"


def kernel_into(out: Tensor, relevance: Tensor, z: Tensor) -> Callable[[], None]:
    """The kernel without torch's dispatch and without fresh memory for the result."""
    run, place = _library.runner("stabilised_divide", out.device)
    inputs, outputs = [relevance.data_ptr(), z.data_ptr()], [out.data_ptr()]
    code = _library.DTYPE_CODES[out.dtype]
    return lambda: run(code, inputs, outputs, out.numel(), 1, [EPS], *place)


def rows(size: int, dtype: torch.dtype, device: str) -> Iterator[str]:
    relevance, z = operands(size, dtype, device)
    expected = ours(relevance, z)
    agrees = {name: agreement(peer(relevance, z), expected) for name, peer in PEERS.items()}
    out = torch.empty_like(z)
    candidates: dict[str, Callable[[], object]] = {
        "**ours**": lambda: ours(relevance, z),
        "our kernel, memory reused": kernel_into(out, relevance, z),
    }
    for name, peer in PEERS.items():
        candidates[name] = lambda peer=peer: peer(relevance, z)
    timings = time_in_turns(candidates, device, repeats=60 if size <= 1_000_000 else 15)
    assert torch.equal(out, expected)
    for name, timing in timings.items():
        yield row(size, dtype, name, timing, timings["**ours**"], agrees.get(name, ""))


def row(size: int, dtype: torch.dtype, name: str, timing: Timing, reference: Timing, agrees: str) -> str:
    gigabytes = 3 * size * dtype.itemsize / 1e9
    cells = (
        str(dtype).removeprefix("torch."),
        f"{size:.0e}",
        name,
        f"{timing.median * 1e6:.1f}",
        f"{timing.best * 1e6:.1f}",
        f"{gigabytes / timing.best:.1f}",
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
        f"# Stabilised division, {device}\n\n"
        f"{datetime.date.today().isoformat()}. {machine(device)}. Instruction set: {info['isa_in_use']}, "
        f"{info['compiler']}.\n{cuda}\n\n"
        "Rates and ratios are of the best times: a median far above its best means that other programs had the "
        "cores. GB/s counts two reads and a write per element. 'Memory reused' writes to memory it has written to "
        "before; all others allocate their result, which for large ones means fresh pages from the operating "
        "system.\n\nTolerances: `torch.where(z >= 0, 1.0, -1.0)` is float32 even beside float64, so its eps is "
        "rounded to float32; in bfloat16 torch rounds after each operator.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, help="also write the table to this Markdown file")
    arguments = parser.parse_args()
    lines = [preamble(arguments.device), HEADER]
    print(*lines, sep="\n")
    for dtype in DTYPES:
        for size in SIZES:
            for line in rows(size, dtype, arguments.device):
                lines.append(line)
                print(line, flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
