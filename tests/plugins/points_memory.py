"""`python -m tests.plugins.points_memory SIDE STEPS BUDGET`: what integrated gradients take, in a process of their own.

Prints as JSON by how many bytes the process grew, and how many steps were done at once.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import nn

import xaipipe
from xaipipe.running.footprint import measured
from xaipipe_gradients import points


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, 1, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    ).eval()


def main(side: int, steps: int, budget: int) -> None:
    sizes: list[int] = []
    pull_back = points.pull_back

    def watched(model: Any, pixels: torch.Tensor, *rest: Any) -> Any:
        sizes.append(len(pixels))
        return pull_back(model, pixels, *rest)

    points.pull_back = watched
    model, x = network(), torch.rand(1, 3, side, side)

    def explain(pixels: torch.Tensor, **params: Any) -> xaipipe.Explanation:
        return xaipipe.explain(model, pixels, "integrated_gradients", target=1, **params)

    explain(x[..., :64, :64], steps=2)  # what is only loaded once
    sizes.clear()
    explanation, grown = measured(x.device, lambda: explain(x, steps=steps, budget=budget))
    assert bool(explanation.values.any())
    print(json.dumps({"grown": grown.host, "at_once": max(sizes), "steps": sum(sizes[1:])}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
