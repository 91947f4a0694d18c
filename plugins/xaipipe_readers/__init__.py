"""Readers for photographs, slides and arrays."""

from __future__ import annotations

from pathlib import Path

from xaipipe import Slide, hookimpl
from xaipipe_readers.npy import open_npy
from xaipipe_readers.openslide_reader import open_with_openslide
from xaipipe_readers.photograph import open_photograph
from xaipipe_readers.tiled_tiff import open_tiled_tiff
from xaipipe_readers.zarr_reader import open_zarr, open_zarr_url

_READERS = (open_tiled_tiff, open_zarr, open_npy, open_with_openslide, open_photograph)


@hookimpl
def open_slide(path: Path) -> Slide | None:
    return next((slide for reader in _READERS if (slide := reader(path)) is not None), None)


@hookimpl
def open_url(url: str) -> Slide | None:
    return open_zarr_url(url)
