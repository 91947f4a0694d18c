"""Readers for photographs and tiled TIFF slides."""

from __future__ import annotations

from pathlib import Path

from xaipipe import Slide, hookimpl
from xaipipe_readers.openslide_reader import open_with_openslide
from xaipipe_readers.photograph import open_photograph
from xaipipe_readers.tiled_tiff import open_tiled_tiff


@hookimpl
def open_slide(path: Path) -> Slide | None:
    return open_tiled_tiff(path) or open_with_openslide(path) or open_photograph(path)
