"""How much of a tile is tissue, and what a tile is that has too little."""

from __future__ import annotations

import numpy as np

from xaipipe import Tile
from xaipipe_tiles.tissue import BLUR, CLASSES, GLASS, PEN, TISSUE, TissueMask


def background_of(tiles: tuple[Tile, ...], mask: TissueMask, least: float) -> tuple[str | None, ...]:
    """For each tile whose core holds less tissue than wanted, what keeps it from having enough: glass, pen, focus."""
    if not tiles:
        return ()
    shares = class_shares(tiles, mask)
    enough = max(least, 1e-9)
    return tuple(None if share[TISSUE] >= enough else _reason(share, enough) for share in shares)


def class_shares(tiles: tuple[Tile, ...], mask: TissueMask) -> np.ndarray:
    """[tiles, classes]: by area, of the part of each core that is on the slide."""
    level = tiles[0].slide.levels[tiles[0].level]
    scale = level.downsample / mask.picture.step
    boxes = np.array([(tile.y, tile.x, tile.y + tile.h, tile.x + tile.w) for tile in tiles], np.float64) * scale
    limits = np.array(mask.labels.shape * 2)
    boxes = np.clip(boxes, 0, limits)
    top, left = np.floor(boxes.min(axis=0)[:2]).astype(int)
    bottom, right = np.ceil(boxes.max(axis=0)[2:]).astype(int)
    part = mask.labels[top:bottom, left:right]
    boxes -= (top, left, top, left)
    areas = np.stack([_areas(part == index, boxes) for index in range(len(CLASSES))], axis=1)
    return areas / np.maximum(areas.sum(axis=1, keepdims=True), 1e-12)


def _reason(share: np.ndarray, enough: float) -> str:
    """Glass, unless it would have had enough tissue with what was rejected."""
    if share[TISSUE] + share[PEN] + share[BLUR] < enough:
        return CLASSES[GLASS]
    return CLASSES[PEN] if share[PEN] >= share[BLUR] else CLASSES[BLUR]


def _areas(mask: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """How many cells of a mask lie in boxes (top, left, bottom, right) whose edges may cut through cells."""
    sums = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2))  # one row and column more, so that ends have a neighbour
    sums[1:-1, 1:-1] = mask.cumsum(0).cumsum(1)
    sums[-1], sums[:, -1] = sums[-2], sums[:, -2]

    def up_to(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        row, column = y.astype(int), x.astype(int)
        v, u = y - row, x - column
        above = sums[row, column] * (1 - u) + sums[row, column + 1] * u
        below = sums[row + 1, column] * (1 - u) + sums[row + 1, column + 1] * u
        return above * (1 - v) + below * v

    top, left, bottom, right = boxes.T
    return up_to(bottom, right) - up_to(top, right) - up_to(bottom, left) + up_to(top, left)
