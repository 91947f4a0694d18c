"""Exact runs on a slide of noise, and the map of one pass over the whole of it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import nn

import xaipipe
from xaipipe import Model

HEIGHT, WIDTH = 149, 172
PREPROCESS = {"size": 32, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}


@functools.cache
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def whole_pixels() -> torch.Tensor:
    return xaipipe.Preprocess(**PREPROCESS).normalise(noise())[None].double()


def tables(method: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "preprocess": PREPROCESS,
        "explain": {"target": 1, **method},
        "store": {"shard": 64},
        "run": {"mode": "exact"},
        **changes,
    }


def tiled(net: nn.Module, slide: Path, output: Path, settings: dict[str, Any]) -> np.ndarray:
    xaipipe.Pipeline(settings, model=net).run(slide, output)
    return zarr.open_group(output, mode="r")["heatmap/0"][:]


def whole(net: nn.Module, method: dict[str, Any]) -> np.ndarray:
    """One pass over the whole image, which is what an exact run has to give."""
    model = Model(net, preprocess=xaipipe.Preprocess(**PREPROCESS))  # whose range of pixels some rules want to know
    x = whole_pixels().to(next(net.parameters()).dtype)
    return xaipipe.explain(model, x, target=1, **method).values[0].numpy()


def difference(got: np.ndarray, want: np.ndarray) -> float:
    assert got.shape == want.shape
    assert np.abs(want).max() > 0
    return float(np.abs(got - want).max() / np.abs(want).max())


class Counting(nn.Module):
    """Runs a network and counts, and dies at a call."""

    def __init__(self, net: nn.Module, die_at: int | None = None) -> None:
        super().__init__()
        self.net = net
        self.calls, self.die_at = 0, die_at

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.die_at:
            raise KeyboardInterrupt
        return self.net(x)


def content(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()}
