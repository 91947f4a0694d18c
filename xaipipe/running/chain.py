"""The second pass: from a region of the raw map to its final map and its labels.

It starts from the committed raw map, read with as much of its neighbours as the stages look around, so that a tiled
slide is smoothed and labelled as the whole slide would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from xaipipe.running.checks import named_failures
from xaipipe.running.run import Run
from xaipipe.stages import Postprocessor, Segmenter
from xaipipe.types import Explanation, Grid, Region, Segmentation, Tile

Item = Explanation | Segmentation


def map_item(run: Run, region: Region, values: np.ndarray[Any, Any], box: tuple[int, int]) -> Explanation:
    """A box [C, h, w] of the level's map as an explanation of a region; NaN cells become invalid ones.

    `box` is the (y, x) of its first cell. Coordinates are relative to the region's first pixel.
    """
    grid, step = run.plan.lattice.grid, run.plan.lattice.step
    offset = (
        grid.offset[0] + box[0] * step[0] - region.y,
        grid.offset[1] + box[1] * step[1] - region.x,
    )
    maps = torch.from_numpy(values)[None]
    tiling = run.plan.tiling
    return Explanation(
        values=torch.nan_to_num(maps),
        grid=Grid(grid.scale, offset),
        targets=(str(run.config.explainer.params.target),),
        scores=torch.zeros(1),
        input_size=(region.h, region.w),
        valid=torch.isfinite(maps).all(dim=1),
        tiles=(Tile(tiling.slide, tiling.level, region.y, region.x, region.h, region.w),),
    )


def read_item(run: Run, region: Region) -> Explanation:
    """A region of the committed raw map, with the margin that the later stages look at."""
    stages: tuple[Postprocessor | Segmenter, ...] = (*run.config.postprocessors, *run.config.segmenters)
    margin = sum(stage.halo() for stage in stages) + 1  # one more for interpolating up to the border
    spec = run.plan.layout.arrays[0]
    y, x, h, w = spec.cells(region)
    top, left = max(y - margin, 0), max(x - margin, 0)
    bottom, right = min(y + h + margin, spec.height), min(x + w + margin, spec.width)
    values = run.config.store.read(spec.name, top, left, bottom - top, right - left)
    return map_item(run, region, values, (top, left))


def final_map(run: Run, item: Explanation) -> Explanation:
    """After all postprocessors."""
    for stage in run.config.postprocessors:
        item = run.stage(stage, item)
    return item


def own_cells(run: Run, region: Region, item: Explanation) -> np.ndarray[Any, Any]:
    """The cells [C, h, w] of a region's final map that the region owns, NaN where nothing was explained."""
    y, x, h, w = run.plan.layout.array("heatmap").cells(region)
    step, grid = run.plan.lattice.step, run.plan.lattice.grid
    first_y = round((region.y + item.grid.offset[0] - grid.offset[0]) / step[0])
    first_x = round((region.x + item.grid.offset[1] - grid.offset[1]) / step[1])
    inside = np.s_[:, y - first_y : y - first_y + h, x - first_x : x - first_x + w]
    values = item.values[0].numpy()[inside].astype(run.plan.layout.array("heatmap").dtype, copy=True)
    if item.valid is not None:
        values[:, ~item.valid.numpy()[inside][0]] = np.nan
    return values


def fit_segmenters(
    run: Run, segmenters: Sequence[Segmenter], items: Callable[[Callable[[Item], Any]], Iterable[Any]]
) -> None:
    """Let every segmenter that surveys see the whole slide, each behind those before it.

    `items` maps a function over the final maps of all regions.
    """
    for position, segmenter in enumerate(segmenters):
        if segmenter.surveys:
            before = segmenters[:position]

            def summary(item: Item, before: Sequence[Segmenter] = before, segmenter: Segmenter = segmenter) -> Any:
                seen = segmented(run, before, item)
                with named_failures(segmenter, seen):
                    return segmenter.survey(seen)

            with named_failures(segmenter, None):
                run.fitted[segmenter] = segmenter.fit(items(summary))


def segmented(run: Run, segmenters: Sequence[Segmenter], item: Item) -> Item:
    """An item after some segmenters."""
    for segmenter in segmenters:
        item = run.stage(segmenter, item)
    return item
