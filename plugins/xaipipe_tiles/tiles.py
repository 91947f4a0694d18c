"""The loader: tiles cut from a slide, background left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from xaipipe import Batch, LabelImage, Loader, LoaderParams, Preprocess, Slide, Tile
from xaipipe_tiles.sample import stained_pixels
from xaipipe_tiles.shares import background_of
from xaipipe_tiles.stains import STAINS, Stain
from xaipipe_tiles.tissue import Search, TissueMask, find_tissue


@dataclass(frozen=True)
class Seen:
    """What was found out about a slide before its tiles are loaded."""

    tissue: TissueMask | None
    stain: Stain | None


class Tiles(Loader):
    """Square tiles on a fixed grid, each with context around it, where there is tissue.

    Tissue is found on a picture of the slide with cells of 8 µm (larger ones where that would be more than 2048
    along a side): what is coloured, or has stain, by Otsu's threshold. Pen marks in blue, green and
    black are not tissue. The mask is kept in the result as the labels `tissue`.

    With `stain` the colours of the whole slide are moved towards a reference's, by what 64 boxes of its tissue say.

    Misleads when: the tile is smaller than what the model needs to see. A tile at the slide's end is filled with the
    last row or column of pixels, and nothing there enters the result. A special stain that is as green or blue as ink
    (methyl green, light green) is taken for a pen mark: `tissue_pen = "keep"`; red and purple ink is not told from
    tissue. With `tissue_blur` large smooth tissue (mucus, keratin) can be taken for blurred.

    Example: `[load]` with `tile = 512` and `overlap = 64`
    """

    name = "tiles"

    class Params(LoaderParams):
        tissue: Literal["auto", "on", "off"] = Field(
            "auto", description="skip tiles without tissue; auto: on slides, not on photographs"
        )
        tissue_share: float = Field(0.01, ge=0, le=1, description="least share of a tile that has to be tissue")
        tissue_by: Literal["saturation", "hed"] = Field(
            "saturation", description="what tells tissue: colour, or density of haematoxylin, eosin and DAB"
        )
        tissue_holes: float = Field(
            50_000.0, ge=0, description="largest hole that counts as tissue: µm², or pixels² where mpp is unknown"
        )
        tissue_area: float = Field(
            2_500.0, ge=0, description="smallest piece that counts as tissue: µm², or pixels² where mpp is unknown"
        )
        tissue_pen: Literal["reject", "keep"] = Field("reject", description="pen marks in blue, green and black")
        tissue_blur: Literal["reject", "keep"] = Field(
            "keep", description="tissue that is out of focus; reads all tissue at 1 µm per pixel once more"
        )
        stain: Literal["off", *STAINS] = Field("off", description="make the slide's stains like a reference's")
        stain_reference: dict[str, Any] = Field(
            {}, description="the reference in place of the method's own, as a manifest lists a slide's look"
        )

        @model_validator(mode="after")
        def _reference_fits(self) -> Self:
            if self.stain == "off" and self.stain_reference:
                raise ValueError("stain_reference wants a method: stain = " + " or ".join(map(repr, STAINS)))
            return self

    def __init__(self, *arguments: Any, **values: Any) -> None:
        super().__init__(*arguments, **values)
        self._reference = None
        if self.params.stain != "off":
            look = STAINS[self.params.stain].Look
            self._reference = look.parse(self.params.stain_reference, "[load.stain_reference]")

    def fit(self, slide: Slide, level: int) -> Seen:
        mask = find_tissue(slide.original, self._search) if self._searches(slide) else None
        if self._reference is None or (mask is not None and not mask.shares["tissue"]):
            return Seen(mask, None)  # without tissue no tile is loaded, and the run's plan says so
        pixels = stained_pixels(slide, level, mask)
        white = mask.white if mask is not None else None
        return Seen(mask, STAINS[self.params.stain].fitted(pixels, white, self._reference, slide))

    def load(self, tiles: tuple[Tile, ...], preprocess: Preprocess, fitted: Seen) -> Batch:
        read = [_read(tile) for tile in tiles]
        stain = fitted.stain
        pictures = [rgb if stain is None else stain.apply(rgb) for rgb, _ in read]
        pixels = torch.stack([preprocess.normalise(rgb) for rgb in pictures])
        return Batch(tiles=tiles, pixels=pixels, valid=torch.from_numpy(np.stack([valid for _, valid in read])))

    def background(self, tiles: tuple[Tile, ...], fitted: Seen) -> tuple[str | None, ...]:
        if fitted.tissue is None:
            return (None,) * len(tiles)
        return background_of(tiles, fitted.tissue, self.params.tissue_share)

    def masks(self, fitted: Seen) -> tuple[LabelImage, ...]:
        return () if fitted.tissue is None else (fitted.tissue.image,)

    def findings(self, fitted: Seen) -> Mapping[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        if fitted.tissue is not None:
            threshold = {"by": self.params.tissue_by, "threshold": round(fitted.tissue.threshold, 6)}
            found["tissue"] = {**fitted.tissue.shares, **threshold}
        return {**found, **self.identity(fitted)}

    def identity(self, fitted: Seen) -> Mapping[str, Any]:
        if fitted.stain is None:
            return {}
        return {"stain": {"method": self.params.stain, **fitted.stain.own.model_dump()}}

    @property
    def _search(self) -> Search:
        p = self.params
        pen, blur = p.tissue_pen == "reject", p.tissue_blur == "reject"
        return Search(p.tissue_by, p.tissue_holes, p.tissue_area, pen, blur)

    def _searches(self, slide: Slide) -> bool:
        return bool(self.params.tissue == "on" or (self.params.tissue == "auto" and slide.pyramidal))


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
