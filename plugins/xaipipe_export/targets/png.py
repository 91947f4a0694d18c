"""For people: one picture of the slide with its heat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from pydantic import Field

from xaipipe import Params
from xaipipe.cli.outputs import png_bytes
from xaipipe.display import Colours, Style, coloured, overlay
from xaipipe.panels import colour_bar
from xaipipe_export.backdrop import Backdrop, backdrop_of
from xaipipe_export.exporter import Exporter
from xaipipe_export.heat import Heat
from xaipipe_export.result import Image, Result

_ROWS = 256
_PAPER, _INK = (255, 255, 255), (30, 30, 30)
_LEGEND, _MARGIN, _BAR = 64, 12, (14, 300)
_NARROWEST = _BAR[1] + 2 * _MARGIN


class Png(Exporter):
    """One picture of the slide, faded, with the strongest evidence of every pixel over it, and a colour bar."""

    name = "png"
    suffix = ".png"

    class Params(Params):
        size: int = Field(2048, ge=64, le=16384, description="longest side of the slide in the picture, in pixels")
        percentile: float | None = Field(
            None, gt=0, le=100, description="of the slide's magnitudes but for zeros: full colour; none: as in viewers"
        )
        colours: Colours = Field("auto", description="auto: diverging about zero where values are signed, else heat")
        opacity: float = Field(0.75, ge=0, le=1, description="of the strongest evidence")

    def write(self, result: Result, place: Path) -> Mapping[str, Any]:
        with backdrop_of(result, self.registry) as backdrop:
            return self._write(result, place, backdrop)

    def _write(self, result: Result, place: Path, backdrop: Backdrop | None) -> Mapping[str, Any]:
        heatmap = result.images["heatmap"]
        whole = backdrop.size if backdrop else _extent(heatmap)
        shrink = max(max(whole) / self.params.size, 1.0)
        size = (max(round(whole[0] / shrink), 1), max(round(whole[1] / shrink), 1))
        heat = Heat(heatmap.levels[0], (whole[0] / size[0], whole[1] / size[1]), size[1])
        colours = self._colours(heatmap, heat)
        picture = np.empty((*size, 3), np.uint8)
        for top in range(0, size[0], _ROWS):
            count = min(_ROWS, size[0] - top)
            below = None if backdrop is None else _faded(backdrop.rows(top, count, size))
            picture[top : top + count] = colours.of(heat.rows(top, count), below)
        title = f"evidence for '{result.target}'"
        page = _with_legend(picture, colours, title, backdrop)
        place.write_bytes(png_bytes(page))
        source = backdrop.source if backdrop else "not found, or another by now: the heat alone"
        return {"slide": source, "pixels": f"{page.shape[0]} × {page.shape[1]}"}

    def _colours(self, heatmap: Image, heat: Heat) -> _Colours:
        low, high = heatmap.window
        limit, percentile = max(-low, high), self.params.percentile
        if percentile is not None:
            limit = heat.magnitudes().without_zeros().percentile(percentile) or 1.0
        return _Colours(limit, low < 0, Style(self.params.colours, self.params.opacity))


@dataclass(frozen=True)
class _Colours:
    """One scale for the whole picture, whatever part of it is drawn."""

    high: float
    signed: bool
    style: Style

    @property
    def low(self) -> float:
        return -self.high if self.signed else 0.0

    def of(self, values: np.ndarray, below: np.ndarray | None) -> np.ndarray:
        if below is None:
            return coloured(values, self.high, self.signed, self.style)
        return overlay(below, values, self.high, self.signed, self.style)


def _faded(rgb: np.ndarray) -> np.ndarray:
    """Grey and light, so that heat is what one sees: stains are of its colours."""
    grey = rgb.mean(axis=2, keepdims=True, dtype=np.float32)
    return np.broadcast_to(255 - (255 - grey) * 0.5, rgb.shape)


def _extent(heatmap: Image) -> tuple[int, int]:
    """Level-0 pixels that a map covers."""
    level = heatmap.levels[0]
    y, x = level.corner
    return round(y + level.height * level.span), round(x + level.width * level.span)


def _with_legend(picture: np.ndarray, colours: _Colours, title: str, backdrop: Backdrop | None) -> np.ndarray:
    """The picture with a colour bar below it, drawn as the heat is."""
    height, width = picture.shape[:2]
    canvas = Pillow.new("RGB", (max(width, _NARROWEST), height + _LEGEND), _PAPER)
    canvas.paste(Pillow.fromarray(picture), (0, 0))
    shades = np.broadcast_to(np.linspace(colours.low, colours.high, _BAR[1], dtype=np.float32), _BAR)
    paper = None if backdrop is None else np.full((*_BAR, 3), 255, np.uint8)
    colour_bar(canvas, (_MARGIN, height + 24), colours.of(shades, paper), (colours.low, colours.high))
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(canvas).text((_MARGIN, height + 4), title, fill=_INK, font=font)
    return np.asarray(canvas)
