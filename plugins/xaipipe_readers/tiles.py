"""The loader: tiles cut from a slide, background left out."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field

from xaipipe import Batch, Loader, LoaderParams, Preprocess, Slide, Tile
from xaipipe_readers.tissue import TissueMask, find_tissue


class Tiles(Loader):
    """Square tiles on a fixed grid, each with context around it.

    Misleads when: the tile is smaller than what the model needs to see. A tile at the slide's end is filled with the
    last row or column of pixels, and nothing there enters the result.

    Example: `[load]` with `tile = 512` and `overlap = 64`
    """

    name = "tiles"

    class Params(LoaderParams):
        tissue: Literal["auto", "on", "off"] = Field(
            "auto", description="skip tiles without tissue; auto: on slides, not on photographs"
        )
        tissue_share: float = Field(0.01, ge=0, le=1, description="least share of a tile that has to be tissue")

    def load(self, tiles: tuple[Tile, ...], preprocess: Preprocess) -> Batch:
        read = [_read(tile) for tile in tiles]
        pixels = torch.stack([preprocess.normalise(rgb) for rgb, _ in read])
        return Batch(tiles=tiles, pixels=pixels, valid=torch.from_numpy(np.stack([valid for _, valid in read])))

    def foreground(self, slide: Slide, level: int, tiles: tuple[Tile, ...]) -> tuple[bool, ...]:
        if self.params.tissue == "off" or (self.params.tissue == "auto" and not slide.pyramidal):
            return (True,) * len(tiles)
        mask = self._mask(slide)
        return tuple(mask.share(tile) >= max(self.params.tissue_share, 1e-9) for tile in tiles)

    def _mask(self, slide: Slide) -> TissueMask:
        """Found once a slide, since regions ask one after the other."""
        if getattr(self, "_found", (None, None))[0] is not slide:
            self._found = (slide, find_tissue(slide))
        return self._found[1]


def _read(tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of a tile with its halo, and which of them lie on the slide; the rest repeat the border."""
    y, x, h, w = tile.outer
    level = tile.slide.levels[tile.level]
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + h, level.height), min(x + w, level.width)
    pixels = tile.slide.read(tile.level, top, left, bottom - top, right - left)
    margins = ((top - y, y + h - bottom), (left - x, x + w - right))
    valid = np.zeros((h, w), bool)
    valid[top - y : bottom - y, left - x : right - x] = True
    if any(any(margin) for margin in margins):
        pixels = np.pad(pixels, (*margins, (0, 0)), mode="edge")
    return pixels, valid
