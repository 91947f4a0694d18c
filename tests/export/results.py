"""Finished results whose labels and map are known cell by cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xaipipe import Grid, Instance
from xaipipe.running.layout import ArraySpec, Layout
from xaipipe.running.manifest import PlanRecord
from xaipipe.testing import MemorySlide
from xaipipe_store.ome_zarr import OmeZarr

MPP = 0.25


def finished(
    output: Path,
    labels: np.ndarray | Mapping[str, np.ndarray],
    heat: np.ndarray,
    *,
    downsample: float = 1.0,
    step: int = 4,
    offset: tuple[float, float] = (0.0, 0.0),
    shard: int = 32,
    instances: tuple[Instance, ...] = (),
    mpp: float | None = MPP,
) -> Path:
    """A result with labels [h, w] and a map [C, h, w] of cells of `step` pixels.

    `offset` is where its first pixel lies, in pixels of the explained level.
    """
    images = labels if isinstance(labels, Mapping) else {"segmentation": labels}
    slide = MemorySlide.striped(64, 64)
    slide.mpp = mpp
    channels = tuple(f"channel {index}" for index in range(len(heat)))
    centre = ((step - 1) / 2 + offset[0], (step - 1) / 2 + offset[1])
    grid = Grid((float(step), float(step)), centre)
    arrays = [ArraySpec("heatmap", "heatmap", channels, *heat.shape[1:], grid, shard // step, "float32")]
    arrays.extend(
        ArraySpec(name, "labels", ("label",), *image.shape, Grid(offset=offset), shard, "uint32")
        for name, image in images.items()
    )
    store = OmeZarr(shard=shard, smallest_level=16)
    store.claim(output)
    layout = store.extended(Layout(tuple(arrays), 0, downsample, mpp), slide)
    store.create(layout, slide, PlanRecord({}, None))
    data = {"heatmap": heat, **{name: image[None] for name, image in images.items()}}
    for spec in layout.arrays:
        for region in spec.regions():
            y, x, h, w = spec.cells(region)
            store.commit(spec.name, region, data[spec.name][:, y : y + h, x : x + w])
    for spec in layout.derived:
        for region in spec.regions():
            store.commit(spec.name, region, store.derive(spec.name, region))
    store.finish({"settings": {"explain": {"target": "red"}}, "slide": {"mpp": mpp}}, instances)
    store.release()
    return output


def discs(height: int, width: int, count: int, seed: int = 0) -> np.ndarray:
    """Labels 1 … count, some over others, some with holes, some of one pixel."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    labels = np.zeros((height, width), np.uint32)
    for label in range(1, count + 1):
        cy, cx, radius = generator.integers(0, height), generator.integers(0, width), generator.integers(0, 12)
        distance = (y - cy) ** 2 + (x - cx) ** 2
        labels[distance <= radius**2] = label
        labels[distance < (radius // 2) ** 2] = 0
    return labels
