"""The slide below a picture of its heat: the copy in the result, or the slide's own file where it still is."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from xaipipe import Registry, Slide, XaipipeError
from xaipipe.slides import open_slide
from xaipipe_export.result import Level, Result

Read = Callable[[int, int, int, int], np.ndarray]


@dataclass(frozen=True)
class Sheet:
    """One level of the slide."""

    height: int
    width: int
    read: Read
    """A box (y, x, h, w) as uint8[h, w, 3]."""


@dataclass(frozen=True)
class Backdrop:
    """The slide with all its levels, large to small."""

    sheets: tuple[Sheet, ...]
    source: str
    """Where the pixels are from, for people."""

    @property
    def size(self) -> tuple[int, int]:
        return self.sheets[0].height, self.sheets[0].width

    def rows(self, top: int, count: int, size: tuple[int, int]) -> np.ndarray:
        """Rows `top … top + count` of the slide brought to `size` (height, width): means, from the level nearest."""
        sheet = [sheet for sheet in self.sheets if sheet.height >= size[0]][-1]
        scale = sheet.height / size[0]
        first, last = int(top * scale), min(math.ceil((top + count) * scale), sheet.height)
        box = sheet.read(first, 0, last - first, sheet.width)
        covered = (0.0, top * scale - first, float(sheet.width), min((top + count) * scale, sheet.height) - first)
        small = Pillow.fromarray(box).resize((size[1], count), Pillow.Resampling.BOX, box=covered)
        return np.asarray(small)


@contextmanager
def backdrop_of(result: Result, registry: Registry) -> Iterator[Backdrop | None]:
    """None where the result holds no copy and the slide is not to be found, or is another by now."""
    if "image" in result.images:
        levels = result.images["image"].levels
        yield Backdrop(tuple(_sheet_of_copy(level) for level in levels), "the copy in the result")
        return
    slide = _slide_of(result, registry)
    if slide is None:
        yield None
        return
    with closing(slide):
        sheets = tuple(_sheet_of_slide(slide, index) for index in range(len(slide.levels)))
        yield Backdrop(sheets, str(slide.path))


def _sheet_of_copy(level: Level) -> Sheet:
    def read(y: int, x: int, h: int, w: int) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(level.read(y, x, h, w), 0, 2))

    return Sheet(level.height, level.width, read)


def _sheet_of_slide(slide: Slide, index: int) -> Sheet:
    level = slide.levels[index]
    return Sheet(level.height, level.width, partial(slide.read, index))


def _slide_of(result: Result, registry: Registry) -> Slide | None:
    """The slide by the path at which it was explained, or beside the result; only if it is the same still."""
    source = result.facts["source"]
    for path in (*_recorded(result.path), result.path.parent / source["file"]):
        if path.is_file():
            try:
                slide = open_slide(registry, path)
            except XaipipeError:
                continue
            if slide.fingerprint == source["fingerprint"]:
                return slide
            slide.close()
    return None


def _recorded(result: Path) -> list[Path]:
    """What the ledger beside a result says, read without touching it."""
    ledger = result.with_name(result.name + ".ledger")
    if not ledger.is_file():
        return []
    try:
        database = sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        rows = database.execute("SELECT value FROM fact WHERE name = 'recipe'").fetchall()
        database.close()
        recipe = json.loads(rows[0][0]) if rows else None
    except (sqlite3.Error, ValueError):
        return []
    return [Path(recipe["slide"])] if recipe else []
