"""Readers for photographs and tiled TIFF slides, and the loader that cuts them into tiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xaipipe import Slide, hookimpl
from xaipipe_readers.openslide_reader import open_with_openslide
from xaipipe_readers.photograph import open_photograph
from xaipipe_readers.tiled_tiff import open_tiled_tiff

if TYPE_CHECKING:
    from xaipipe import Stage


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    from xaipipe_readers.tiles import Tiles  # here, since reader processes load this plugin and need no torch

    return [Tiles]


@hookimpl
def open_slide(path: Path) -> Slide | None:
    return open_tiled_tiff(path) or open_with_openslide(path) or open_photograph(path)
