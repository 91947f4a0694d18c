"""A map taken apart into regions and segmented as a run does it: survey every region, fit once, segment each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xaipipe.running.checks import check_result
from xaipipe.stages import Segmenter
from xaipipe.testing.slides import MemorySlide, striped_pixels
from xaipipe.types import Explanation, Grid, Segmentation, Tile

Item = Explanation | Segmentation


def cut(explanation: Explanation, region: int, margin: int) -> list[Explanation]:
    """Square regions of `region` pixels, each with the cells around it, in coordinates of its own first pixel."""
    height, width = explanation.input_size
    slide = MemorySlide((striped_pixels(height, width),))
    return [
        _region(explanation, Tile(slide, 0, y, x, min(region, height - y), min(region, width - x)), margin)
        for y in range(0, height, region)
        for x in range(0, width, region)
    ]


def segment_regions(
    segmenters: Sequence[Segmenter], explanation: Explanation, region: int, seed: int = 0
) -> tuple[Tensor, list[Any]]:
    """The labels [h, w] of a whole map segmented in regions, and what every segmenter fitted.

    Summaries reach `fit` in an order that the seed chooses, since a run promises none.
    """
    margin = sum(segmenter.halo() for segmenter in segmenters) + 1
    items: list[Item] = list(cut(explanation, region, margin))
    fitted = []
    for segmenter in segmenters:
        known = None
        if segmenter.surveys:
            summaries = [segmenter.survey(item) for item in items]
            random.Random(seed).shuffle(summaries)
            known = segmenter.fit(iter(summaries))
        fitted.append(known)
        items = [_segmented(segmenter, item, known) for item in items]
    labels = torch.zeros(explanation.input_size, dtype=torch.int64)
    for item in items:
        assert isinstance(item, Segmentation)
        tile = item.explanation.tiles[0]
        labels[tile.y : tile.y + tile.h, tile.x : tile.x + tile.w] = item.labels[0].long()
    return labels, fitted


def _segmented(segmenter: Segmenter, item: Item, fitted: Any) -> Segmentation:
    result = segmenter.segment(item, fitted)
    check_result(segmenter, item, result)
    size = (item.explanation if isinstance(item, Segmentation) else item).input_size
    assert tuple(result.labels.shape[1:]) == size, f"labels {tuple(result.labels.shape[1:])} for a region of {size}"
    return result


def _region(explanation: Explanation, tile: Tile, margin: int) -> Explanation:
    grid = explanation.grid
    rows, columns = (
        _with_margin(grid.cells_within(axis, start, start + length, cells), margin, cells)
        for axis, start, length, cells in (
            (0, tile.y, tile.h, explanation.values.shape[2]),
            (1, tile.x, tile.w, explanation.values.shape[3]),
        )
    )
    offset = (
        grid.offset[0] + rows.start * grid.scale[0] - tile.y,
        grid.offset[1] + columns.start * grid.scale[1] - tile.x,
    )
    return explanation.replace(
        values=explanation.values[:, :, rows, columns].clone(),
        valid=None if explanation.valid is None else explanation.valid[:, rows, columns].clone(),
        grid=Grid(grid.scale, offset),
        input_size=(tile.h, tile.w),
        tiles=(tile,),
    )


def _with_margin(cells: slice, margin: int, count: int) -> slice:
    return slice(max(cells.start - margin, 0), min(cells.stop + margin, count))
