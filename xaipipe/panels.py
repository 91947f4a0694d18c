"""Maps as pictures for people: over what was explained, with a legend, and several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xaipipe.display import Style, coloured, flattened, overlay
from xaipipe.types import Explanation

Rgb = np.ndarray[Any, Any]
_PAPER, _INK = (255, 255, 255), (30, 30, 30)
_NARROWEST = 256
_MARGIN, _LINE, _BAR = 8, 18, 12


@dataclass(frozen=True, eq=False)
class Panel:
    """One map among others: the picture [h, w, 3] that lies below it, and what is written below both."""

    explanation: Explanation
    below: Rgb | None
    lines: tuple[str, ...]


def drawn(explanation: Explanation, below: Rgb | None, image: int = 0) -> Rgb:
    """One map over a picture of its size, with a legend where its style asks for one."""
    style, values = Style.of(explanation), flattened(explanation, image)
    scale = _Scale(style, style.limit(values), bool(values.min(initial=0) < 0))
    picture = scale.over(values, below)
    return _framed(picture, (), scale) if style.legend else picture


def side_by_side(rows: Sequence[Sequence[Panel]]) -> Rgb:
    """Panels with their legends. The maps of a row have one scale of colours, so that they can be compared."""
    drawn_rows = [_joined(_row(panels), axis=1) for panels in rows]
    return _joined(drawn_rows, axis=0)


def _row(panels: Sequence[Panel]) -> list[Rgb]:
    style = Style.of(panels[0].explanation)
    maps = [flattened(panel.explanation) for panel in panels]
    limit = max(style.limit(values) for values in maps)
    scale = _Scale(style, limit, any(bool(values.min(initial=0) < 0) for values in maps))
    return [
        _framed(scale.over(values, panel.below), panel.lines, scale) for values, panel in zip(maps, panels, strict=True)
    ]


@dataclass(frozen=True)
class _Scale:
    """What colour a value has."""

    style: Style
    limit: float
    signed: bool

    def over(self, values: Rgb, below: Rgb | None) -> Rgb:
        if below is None:
            return coloured(values, self.limit, self.signed, self.style)
        return overlay(below, values, self.limit, self.signed, self.style)

    @property
    def low(self) -> float:
        return -self.limit if self.signed else 0.0

    @property
    def note(self) -> str:
        return f"percentile {self.style.percentile:g}" if self.style.percentile < 100 else ""

    def bar(self, width: int) -> Rgb:
        shades = np.broadcast_to(np.linspace(self.low, self.limit, width, dtype=np.float32), (_BAR, width))
        return coloured(shades, self.limit, self.signed, self.style)


def _framed(picture: Rgb, lines: Sequence[str], scale: _Scale) -> Rgb:
    """The picture, enlarged where it is small, with lines of text and the legend below."""
    height, width = (side * -(-_NARROWEST // picture.shape[1]) for side in picture.shape[:2])
    top = height + _MARGIN // 2 + _LINE * len(lines)
    canvas = Image.new("RGB", (width + _MARGIN, top + _MARGIN + _BAR + _LINE), _PAPER)
    canvas.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST), (0, 0))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for number, line in enumerate(lines):
        draw.text((2, height + 3 + _LINE * number), _shortened(line, width, font), fill=_INK, font=font)
    colour_bar(canvas, (2, top + _MARGIN // 2), scale.bar(width - 4), (scale.low, scale.limit), scale.note)
    return np.asarray(canvas)


def colour_bar(
    canvas: Image.Image, corner: tuple[int, int], bar: Rgb, ends: tuple[float, float], note: str = ""
) -> None:
    """Draw the colours from one value to another, and write both below, with a note between them."""
    left, top = corner
    height, width = bar.shape[:2]
    canvas.paste(Image.fromarray(bar), corner)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    draw.rectangle((left, top, left + width - 1, top + height - 1), outline=_INK)
    draw.text((left, top + height + 1), f"{ends[0]:.3g}", fill=_INK, font=font)
    draw.text((left + width, top + height + 1), f"{ends[1]:.3g}", fill=_INK, font=font, anchor="ra")
    draw.text((left + width / 2, top + height + 1), note, fill=_INK, font=font, anchor="ma")


def _shortened(text: str, width: int, font: Any) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _joined(parts: Sequence[Rgb], axis: int) -> Rgb:
    """On white paper, where they are of different sizes."""
    across = max(part.shape[1 - axis] for part in parts)
    padding = [[(0, 0)] * 3 for _ in parts]
    for pads, part in zip(padding, parts, strict=True):
        pads[1 - axis] = (0, across - part.shape[1 - axis])
    white = [np.pad(part, pads, constant_values=255) for part, pads in zip(parts, padding, strict=True)]
    return np.concatenate(white, axis=axis)
