"""Backward methods against zennit, captum and plain autograd, on ResNet-50 and VGG-16.

python benchmarks/propagation.py [--device cpu|cuda] [--batch 4] [--net resnet50 …] [--out FILE.md]

Needs torchvision, zennit and captum (`pip install '.[bench]'`). Weights are random, batch norms folded, since zennit
0.5.1 leaves their eps in what it merges. Results have to agree before anything is timed; all candidates take turns.
Costs are multiples of a plain forward pass and input gradient of the same net, by the wall clock and by the time that
processors spent; memory is the most that tensors took at once, above what lay there before.
"""

from __future__ import annotations

import argparse
import datetime
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from _timing import machine
from torch import Tensor, nn

import xaipipe
from xaipipe.models.weight_cache import WeightCache
from xaipipe.running.live import peak_of_tensors

try:
    import torchvision
    from captum.attr import InputXGradient
    from zennit import composites
    from zennit.attribution import Gradient
    from zennit.rules import Epsilon
    from zennit.torchvision import ResNetCanonizer
    from zennit.types import Convolution, Linear
except ImportError as missing:
    raise SystemExit(f"not run: {missing}; pip install '.[bench]'") from None

LOW, HIGH = -6.0, 6.0
TARGET = 7
CLASSES = 10
COMPOSITES: dict[str, tuple[dict[str, object], Callable[..., object]]] = {
    "epsilon": ({}, lambda **more: composites.LayerMapComposite(_epsilon_map(), **more)),
    "epsilon_plus": ({}, composites.EpsilonPlus),
    "epsilon_plus_flat": ({}, composites.EpsilonPlusFlat),
    "epsilon_alpha2_beta1": ({}, composites.EpsilonAlpha2Beta1),
    "epsilon_gamma_box": (
        {"low": [LOW], "high": [HIGH]},
        lambda **more: composites.EpsilonGammaBox(low=_bound(LOW), high=_bound(HIGH), **more),
    ),
}
TOLERANCE = 2e-2
"""In float32, of the largest value: `epsilon` is ill-conditioned, the others agree far better."""
FLOORS = {
    "epsilon": 1.2,
    "epsilon_plus": 1.6,
    "epsilon_plus_flat": 1.6,
    "epsilon_alpha2_beta1": 2.2,
    "epsilon_gamma_box": 2.2,
}
"""What a composite may cost, and at most half of zennit's."""
FASTER, MEMORY = 4.0, 1.3
ONE_FORWARD = "torch's own from one forward pass"
HEADER = """| net | what | ours | zennit or captum | theirs / ours | ours, processor time | largest difference | floor |
|---|---|---:|---:|---:|---:|---:|---|"""


def _epsilon_map() -> list[tuple[object, object]]:
    return [*composites.layer_map_base(1e-6), ((Convolution, Linear), Epsilon(1e-6))]


def _bound(value: float) -> Tensor:
    return torch.full((1, 3, 1, 1), value, device=DEVICE)


def folded(net: nn.Module) -> nn.Module:
    """Batch norms merged into the convolutions before them; identities in their place."""
    for parent in net.modules():
        for (_, first), (name, second) in zip(
            list(parent.named_children()), list(parent.named_children())[1:], strict=False
        ):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                fused = torch.nn.utils.fusion.fuse_conv_bn_eval(first, second)
                first.weight, first.bias = fused.weight, fused.bias
                setattr(parent, name, nn.Identity())
    return net


def made(name: str) -> nn.Module:
    """Random weights, and norms with statistics of their own."""
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, weights=None).eval()
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 1.5)
    return folded(net).to(DEVICE).requires_grad_(False)


def plain(net: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    def run() -> Tensor:
        leaf = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(net(leaf)[:, TARGET].sum(), leaf)
        return gradient

    return run


def of_zennit(net: nn.Module, name: str, x: Tensor, make: Callable[..., object]) -> Callable[[], Tensor]:
    canonizers = [ResNetCanonizer()] if name.startswith("resnet") else []

    def run() -> Tensor:
        leaf = x.detach().requires_grad_()

        def begin(output: Tensor) -> Tensor:
            return nn.functional.one_hot(torch.tensor([TARGET] * len(x), device=x.device), 1000) * output

        with Gradient(net, make(canonizers=canonizers)) as attributor:
            _, relevance = attributor(leaf, begin)
        return relevance

    return run


def of_captum(net: nn.Module, x: Tensor) -> Callable[[], list[Tensor]]:
    method = InputXGradient(net)
    return lambda: [method.attribute(x.detach().requires_grad_(), target=c) for c in range(CLASSES)]


def of_autograd(net: nn.Module, x: Tensor) -> Callable[[], list[Tensor]]:
    """The least that torch itself needs: one forward pass, and the way back from each class."""

    def run() -> list[Tensor]:
        leaf = x.detach().requires_grad_()
        scores = net(leaf).sum(dim=0)
        return [x * torch.autograd.grad(scores[c], leaf, retain_graph=True)[0] for c in range(CLASSES)]

    return run


def rows(name: str, batch: int, repeats: int) -> list[str]:
    net = made(name)
    model = replace(xaipipe.Model.of(net), weights=WeightCache())
    x = torch.randn(batch, 3, 224, 224, device=DEVICE)
    table = []
    for composite, (params, make) in COMPOSITES.items():
        theirs = of_zennit(net, name, x, make)

        ours = partial(_ours, model, x, composite, params)
        table.append(_row(name, composite, {"plain": plain(net, x), "ours": ours, "theirs": theirs}, repeats))
        print(table[-1], flush=True)

    def ten() -> list[Tensor]:
        found = xaipipe.explain(model, x, "input_x_gradient", target=list(range(CLASSES)))
        return [explanation.values for explanation in found]

    candidates = {"plain": plain(net, x), "ours": ten, "theirs": of_captum(net, x)}
    table.append(_row(name, f"input_x_gradient, {CLASSES} targets", candidates, repeats))
    print(table[-1], flush=True)
    candidates = {"plain": plain(net, x), "ours": ten, "theirs": of_autograd(net, x)}
    table.append(_row(name, f"the same, {ONE_FORWARD}", candidates, repeats))
    print(table[-1], flush=True)
    return table


def _row(name: str, what: str, candidates: dict[str, Callable[[], object]], repeats: int) -> str:
    ours, theirs = (torch.stack(_list(candidates[who]())) for who in ("ours", "theirs"))
    ours, theirs = ours.detach(), theirs.detach()
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    assert difference < TOLERANCE, f"{name} {what}: differs by {difference:.1e}"
    best = in_turns(candidates, repeats)
    (own, processor), (other, _) = (
        [cost / once for cost, once in zip(best[who], best["plain"], strict=True)] for who in ("ours", "theirs")
    )
    line = f"| {name} | {what} | {own:.2f} | {other:.2f} | {other / own:.1f} | {processor:.2f} | {difference:.0e} |"
    return f"{line} {_verdict(what, own, other)} |"


def _verdict(what: str, own: float, other: float) -> str:
    if what.endswith(ONE_FORWARD):
        return ""
    if what not in FLOORS:
        return f"{FASTER:g} times: {_said(other >= FASTER * own)}"
    return f"{FLOORS[what]}: {_said(own <= FLOORS[what])}; half: {_said(2 * own <= other)}"


def _said(held: bool) -> str:
    return "held" if held else "missed"


def in_turns(candidates: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """The best wall clock and the best processor time of each candidate, [seconds, seconds]."""
    best = {who: [float("inf")] * 2 for who in candidates}
    for _ in range(repeats):
        for who, run in candidates.items():
            start = [time.perf_counter(), time.process_time()]
            run()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            spent = [
                clock - begun for clock, begun in zip((time.perf_counter(), time.process_time()), start, strict=True)
            ]
            best[who] = [min(pair) for pair in zip(best[who], spent, strict=True)]
    return best


def _list(values: object) -> list[Tensor]:
    return values if isinstance(values, list) else [values]  # type: ignore[list-item]


def memory(name: str, batch: int) -> str:
    """What a pass takes at most, once the weights of rules are made."""
    net = made(name)
    model = replace(xaipipe.Model.of(net), weights=WeightCache())
    x = torch.randn(batch, 3, 224, 224, device=DEVICE)
    once = peak(plain(net, x))
    shares = {what: peak(partial(_ours, model, x, what, params)) / once for what, (params, _) in COMPOSITES.items()}
    said = ", ".join(f"{what} {share:.2f} ({_said(share <= MEMORY)})" for what, share in shares.items())
    return f"{name}: plain {once / 2**20:.0f} MiB; {said}"


def peak(run: Callable[[], object]) -> int:
    """The most bytes of tensors at once, above those before, in the second run."""
    run()
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    return peak_of_tensors(run)[1]


def _ours(model: xaipipe.Model, x: Tensor, composite: str, params: dict[str, object]) -> Tensor:
    return xaipipe.explain(model, x, "lrp", target=TARGET, composite=composite, **params).values


def main() -> None:
    global DEVICE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--net", nargs="+", default=["resnet50", "vgg16"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    DEVICE = arguments.device
    lines = [f"# Backward methods, batch {arguments.batch}", ""]
    lines += [f"{machine(DEVICE)}, {datetime.date.today().isoformat()}", "", HEADER]
    print("\n".join(lines))
    for name in arguments.net:
        lines += rows(name, arguments.batch, arguments.repeats)
    lines += ["", f"Peak memory, as multiples of a plain pass; floor {MEMORY}:", ""]
    lines += [f"- {memory(name, arguments.batch)}" for name in arguments.net]
    print("\n".join(lines[-len(arguments.net) :]))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


DEVICE = "cpu"
if __name__ == "__main__":
    main()
