"""Tiled TIFF slides (Aperio SVS, generic and OME-TIFF): tifffile finds the tiles, we read and decode them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from xaipipe import InputError, Level
from xaipipe_readers.files import file_fingerprint, first_bytes
from xaipipe_readers.icc import tiff_profile
from xaipipe_readers.levels import downsample_of
from xaipipe_readers.native_tiles import NativeTiles
from xaipipe_readers.photograph import TIFF_MAGIC
from xaipipe_readers.tiff_chain import check_chain
from xaipipe_readers.tiff_checks import check_tiled_page
from xaipipe_readers.tiff_resolution import micrometres_per_pixel
from xaipipe_readers.tile_codecs import decoder_of, is_subsampled


class TiledTiff(NativeTiles):
    """A pyramid of tiled pages. Reads are safe from any thread: each is a `pread` and a decode of its own."""

    def __init__(self, path: Path, tif: tifffile.TiffFile, pages: list[Any]) -> None:
        self.path = path
        self._tif, self._pages = tif, pages
        self._decoders = [decoder_of(page) for page in pages]
        base = pages[0]
        sizes = [(page.imagelength, page.imagewidth) for page in pages]
        self.levels = tuple(Level(h, w, downsample_of(sizes[0], (h, w))) for h, w in sizes)
        self.mpp = micrometres_per_pixel(tif, base)
        self._file = os.open(path, os.O_RDONLY)
        super().__init__(tuple((page.tilelength, page.tilewidth) for page in pages))

    @property
    def profile(self) -> bytes | None:
        return tiff_profile(self._pages[0])

    @property
    def fingerprint(self) -> str:
        return file_fingerprint(self.path)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._tif.close()

    def decode(self, level: int, row: int, column: int) -> np.ndarray:
        page = self._pages[level]
        index = row * -(-page.imagewidth // page.tilewidth) + column
        count = page.databytecounts[index]
        shape = (page.tilelength, page.tilewidth, 3)
        if count == 0:  # a sparse tile: by convention background
            return np.full(shape, 255, np.uint8)
        where = f"{self.path} level {level} tile ({row}, {column})"
        data = os.pread(self._file, count, page.dataoffsets[index])
        if len(data) < count:
            raise InputError("the slide is cut short", got=f"{len(data)} of {count} bytes", where=where)
        try:
            pixels = self._decoders[level](data, index)
        except Exception as error:
            raise InputError(
                "a tile of the slide cannot be decoded", got=f"{type(error).__name__}: {error}", where=where
            ) from None
        if pixels.shape == shape:
            return np.require(pixels, requirements="CW")  # uncompressed tiles are a view of the file's bytes
        tile = np.full(shape, 255, np.uint8)
        tile[: pixels.shape[0], : pixels.shape[1]] = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels
        return tile


def open_tiled_tiff(path: Path) -> TiledTiff | None:
    """The slide, or None where the file is not a tiled TIFF."""
    if not first_bytes(path, 4).startswith(TIFF_MAGIC):
        return None
    try:
        check_chain(path)
        tif = tifffile.TiffFile(path)
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from None
    try:
        slide = _slide(path, tif)
    except InputError:
        tif.close()
        raise
    except Exception as error:
        tif.close()
        raise _unreadable(path, error) from None
    if slide is None:
        tif.close()
    return slide


def _slide(path: Path, tif: tifffile.TiffFile) -> TiledTiff | None:
    pages = _levels(tif)
    if not pages or not pages[0].is_tiled:
        return None
    size = path.stat().st_size
    for page in pages:
        check_tiled_page(page, size, f"{path}, page {page.index}")
    if any(is_subsampled(page, tif.filehandle.fileno()) for page in pages):
        return _left_to_openslide(path)
    return TiledTiff(path, tif, pages)


def _left_to_openslide(path: Path) -> None:
    if importlib.util.find_spec("openslide") is None:
        raise InputError(
            "the slide's JPEG 2000 holds its colours at half the resolution",
            where=path,
            hint="pip install 'xaipipe[openslide]', which reads it",
        )


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        "the TIFF cannot be read",
        got=f"{type(error).__name__}: {error}",
        where=path,
        hint="the file is damaged or cut short",
    )


def _levels(tif: tifffile.TiffFile) -> list[Any]:
    """The tiled pages of the first series, largest first; thumbnails and labels are strips and fall away."""
    if not tif.series:
        return []
    pages = [level.keyframe for level in tif.series[0].levels]
    return [page for page in pages if page.is_tiled] or pages[:1]
