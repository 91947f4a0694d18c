"""Where cells lie, as stated and as seen: well-known networks, and plain upsampling beside them.

python benchmarks/placement.py [--net resnet50 …] [--weights 16] [--size 416] [--device cpu|cuda] [--out FILE.md]

Needs torchvision and timm (`pip install '.[timm]'`). Weights are random, images are noise. A cell's place is the
centroid of its squared gradient, Σ_c (∂A_c/∂x)², in the mean over networks; each network counts with its mirror image,
all of whose kernels are turned by half a turn, since single random weights see more on one side. The four innermost
cells are asked, and the largest error of theirs is shown, along y or x.
"""

from __future__ import annotations

import argparse
import datetime
import time
from pathlib import Path

import torch
from _timing import machine
from torch import Tensor, nn

import xaipipe

try:
    import timm
    import torchvision
except ImportError as missing:
    raise SystemExit(f"not run: {missing}; pip install '.[timm]'") from None

NETS = {
    "resnet18": "layer4",
    "resnet50": "layer4",
    "efficientnet_b0": "features",
    "densenet121": "features",
    "vgg16": "features",
    "convnext_tiny": "features",
    "mobilenet_v2": "features",
    "timm:resnet50d": "layer4",
    "timm:dla34": "level5",
    "timm:hrnet_w18_small": "final_layer",
    "timm:tf_efficientnet_b0": "bn2",
    "timm:convnextv2_atto": "stages",
}
LIMIT = 1.0
"""Pixels."""
HEADER = """| net | layer | stride | offset | error | ± | of plain upsampling | grid |
|---|---|---:|---:|---:|---:|---:|---|"""


def made(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    library, _, bare = name.rpartition(":")
    net = timm.create_model(bare) if library else torchvision.models.get_model(bare, weights=None)
    with torch.no_grad():
        for part in net.modules():  # batch norms that start with zeros would leave one branch out
            if isinstance(part, nn.BatchNorm2d):
                nn.init.ones_(part.weight)
    return net.eval().requires_grad_(False)


def mirrored(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.copy_(part.weight.flip(-1, -2))
    return net


def noise(size: int, seed: int, device: str) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed)).to(device)


def row(name: str, args: argparse.Namespace) -> tuple[str, float]:
    """A line of the table, and the error in it."""
    found = []
    for seed in range(args.weights):
        net = made(name, seed).to(args.device)
        one = xaipipe.placement(net, noise(args.size, 2 * seed, args.device), NETS[name])
        other = xaipipe.placement(mirrored(net), noise(args.size, 2 * seed + 1, args.device), NETS[name])
        found.append((one.seen - one.stated + other.seen - other.stated) / 2)
    off = torch.stack(found)
    mean, doubt = off.mean(dim=0), off.std(dim=0) / len(off) ** 0.5
    error, upsampling = mean.abs().max(), (one.stated + mean - one.upsampled).abs().max()
    grid, source = one.grid, one.source.partition(";")
    told = "branches weighed" if source[1] else "branches agree"
    numbers = f"{grid.scale[0]:.4g} | {grid.offset[0]:.4g} | {error:.2f} | {doubt.max():.2f} | {upsampling:.1f}"
    return f"| {name} | `{one.layer}` | {numbers} | {told} |", float(error)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--weights", type=int, default=16, help="random initialisations")
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began, lines, worst = time.perf_counter(), [], 0.0
    print(HEADER, flush=True)
    for name in args.net:
        line, error = row(name, args)
        lines.append(line)
        worst = max(worst, error)
        print(line, flush=True)
    seconds = time.perf_counter() - began
    told = f"Input {args.size} × {args.size}, {args.weights} × 2 networks each, {seconds:.0f} s. {machine(args.device)}"
    print(told)
    if args.out:
        title = f"# Where cells lie, {datetime.date.today()}\n\nErrors in pixels; `python benchmarks/placement.py`.\n\n"
        args.out.write_text(title + "\n".join([HEADER, *lines]) + f"\n\n{told}\n", encoding="utf-8")
    return 0 if worst < LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
