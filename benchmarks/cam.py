"""Class activation maps against captum and pytorch-grad-cam.

python benchmarks/cam.py [--device cpu|cuda] [--batch 8] [--net resnet50] [--trials-net resnet18] [--out FILE.md]

Needs torchvision, captum and grad-cam (`pip install '.[bench]'`). Weights are random. Maps have to agree before
anything is timed: of Grad-CAM the raw ones at the layer's resolution; of Score-CAM with their masks sampled where the
cells lie, as ours are; of Ablation-CAM with their weights times the score, by which they divide. Candidates take turns;
the best of several counts, by the wall clock and by the time that processors spent.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime
import io
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import machine
from torch import Tensor, nn

import xaipipe

try:
    import pytorch_grad_cam
    import torchvision
    from captum.attr import LayerGradCam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
except ImportError as missing:
    raise SystemExit(f"not run: {missing}; pip install '.[bench]'") from None

CLASSES = 10
TRIALS = {"scorecam": "ScoreCAM", "ablationcam": "AblationCAM"}
TOLERANCE = 1e-4
"""Of the largest value, in float32."""
Run = Callable[[], Any]
HEADER = """| what | ours, s | captum, s | grad-cam, s | times captum | times grad-cam | in processor time |
|---|---:|---:|---:|---:|---:|---|"""


def made(name: str, device: str) -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = torchvision.models.get_model(name, weights=None).eval()
    return net.to(device)


def anew(net: nn.Module) -> nn.Module:
    """The same weights in modules that nobody has seen before."""
    return copy.copy(net)


def raw(method: str, net: nn.Module, x: Tensor, target: int) -> np.ndarray:
    """pytorch-grad-cam's map before it is cut, resized and normalised."""
    targets = [ClassifierOutputTarget(target)] * len(x)
    with getattr(pytorch_grad_cam, method)(model=net, target_layers=[net.layer4]) as cam, quiet():
        cam(input_tensor=x, targets=targets)
        found = cam.activations_and_grads
        maps = [part[0].cpu().numpy() if part else None for part in (found.activations, found.gradients)]
        image: np.ndarray = cam.get_cam_image(x, net.layer4, targets, *maps, False)
    return image


@contextlib.contextmanager
def quiet() -> Any:
    """Without their progress bars."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def of_peer(cam: Any, x: Tensor, target: int) -> np.ndarray:
    with quiet():
        image: np.ndarray = cam(input_tensor=x, targets=[ClassifierOutputTarget(target)] * len(x))
    return image


def gradcam_rows(name: str, batch: int, device: str, repeats: int) -> list[str]:
    net, x = made(name, device), torch.randn(batch, 3, 224, 224, device=device)
    captum = LayerGradCam(net, net.layer4)
    theirs = pytorch_grad_cam.GradCAM(model=net, target_layers=[net.layer4])

    def ours(targets: Any) -> Any:
        return xaipipe.explain(net, x, "gradcam", target=targets, layer="layer4")

    for target, found in enumerate(ours([0, 1])):
        assert_alike(found.values, captum.attribute(x, target=target, relu_attributions=True).detach())
        assert_alike(found.values[:, 0], raw("GradCAM", net, x, target).clip(min=0))
    one = {
        "ours": lambda: ours(3),
        "captum": lambda: captum.attribute(x, target=3, relu_attributions=True),
        "peer": lambda: of_peer(theirs, x, 3),
        "first": lambda: xaipipe.explain(anew(net), x, "gradcam", target=3, layer="layer4"),
    }
    ten = {
        "ours": lambda: ours(list(range(CLASSES))),
        "captum": lambda: [captum.attribute(x, target=c, relu_attributions=True) for c in range(CLASSES)],
        "peer": lambda: [of_peer(theirs, x, c) for c in range(CLASSES)],
    }
    rows, best = [], in_turns(one, device, repeats)
    rows.append(row(f"gradcam, one class, {name}, batch {batch}", best))
    rows.append(row("the same in the first call, which finds the layer", {**best, "ours": best["first"]}))
    rows.append(row(f"gradcam, {CLASSES} classes, {name}, batch {batch}", in_turns(ten, device, max(1, repeats // 2))))
    theirs.activations_and_grads.release()
    return rows


def trial_row(method: str, name: str, device: str, repeats: int) -> str:
    net, x, target = made(name, device).requires_grad_(False), torch.randn(1, 3, 224, 224, device=device), 3
    peer = TRIALS[method]

    def ours() -> Tensor:
        return xaipipe.explain(net, x, method, target=target, layer="layer4", signed=True).values

    with masks_where_cells_lie(net, x), torch.no_grad():
        factor = float(net(x)[0, target]) if method == "ablationcam" else 1.0
        assert_alike(ours()[:, 0], factor * raw(peer, net, x, target), 1e-3)
    with getattr(pytorch_grad_cam, peer)(model=net, target_layers=[net.layer4]) as cam:
        best = in_turns({"ours": ours, "peer": lambda: of_peer(cam, x, target)}, device, repeats)
    return row(f"{method}, {name}, one image", best)


@contextlib.contextmanager
def masks_where_cells_lie(net: nn.Module, x: Tensor) -> Any:
    """pytorch-grad-cam enlarges maps from corner to corner."""
    grid = xaipipe.explain(net, x, "eigencam", layer="layer4").grid
    before = nn.UpsamplingBilinear2d

    def by_grid(size: Any) -> Callable[[Tensor], Tensor]:
        return lambda maps: xaipipe.to_pixels(maps, grid, tuple(size))

    nn.UpsamplingBilinear2d = by_grid  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        nn.UpsamplingBilinear2d = before  # type: ignore[misc]


def assert_alike(ours: Tensor, theirs: Any, tolerance: float = TOLERANCE) -> None:
    ours, theirs = ours.detach().cpu(), torch.as_tensor(theirs).cpu()
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    assert difference < tolerance, f"differs by {difference:.1e}"


def in_turns(candidates: dict[str, Run], device: str, repeats: int) -> dict[str, tuple[float, float]]:
    """The best wall clock and the best processor time of each."""
    best = {who: (float("inf"), float("inf")) for who in candidates}
    for run in candidates.values():
        run() if device == "cuda" else None
    for _ in range(repeats):
        for who, run in candidates.items():
            start = time.perf_counter(), time.process_time()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            spent = time.perf_counter() - start[0], time.process_time() - start[1]
            best[who] = (min(best[who][0], spent[0]), min(best[who][1], spent[1]))
    return best


def row(what: str, best: dict[str, tuple[float, float]]) -> str:
    ours, own = best["ours"]
    peers = [best.get(who) for who in ("captum", "peer")]
    seconds = " | ".join("" if peer is None else f"{peer[0]:.2f}" for peer in peers)
    times = " | ".join("" if peer is None else f"{peer[0] / ours:.2f}" for peer in peers)
    processor = ", ".join(f"{peer[1] / own:.2f}" for peer in peers if peer is not None)
    return f"| {what} | {ours:.2f} | {seconds} | {times} | {processor} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--net", default="resnet50")
    parser.add_argument("--trials-net", default="resnet18")
    parser.add_argument("--only", choices=["gradcam", "scorecam", "ablationcam"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = ["# Class activation maps", "", f"{machine(arguments.device)}, {datetime.date.today().isoformat()}", ""]
    load = os.getloadavg()[0]
    lines += [f"Load of the machine at the start: {load:.1f} on {os.cpu_count()} processors.", "", HEADER]
    print("\n".join(lines), flush=True)
    if arguments.only in (None, "gradcam"):
        lines += gradcam_rows(arguments.net, arguments.batch, arguments.device, arguments.repeats)
        print("\n".join(lines[-3:]), flush=True)
    for method in TRIALS if arguments.only is None else {arguments.only} & TRIALS.keys():
        lines.append(trial_row(method, arguments.trials_net, arguments.device, max(1, arguments.repeats // 2)))
        print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
