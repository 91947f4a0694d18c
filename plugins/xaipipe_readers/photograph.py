"""Images that fit in memory: PNG, JPEG, BMP and plain TIFF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from xaipipe import InputError, Level, Slide
from xaipipe_readers.files import file_fingerprint, first_bytes
from xaipipe_readers.icc import tiff_profile
from xaipipe_readers.pictures import KINDS, Kind, Promise
from xaipipe_readers.tiff_checks import check_colours

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_PIXELS = 1 << 30
_MOST_BYTES = 1 << 32
"""A photograph that would take more is refused from its header, before it is read or decoded."""
_HEAD = 1 << 24
"""Bytes among which a header has to lie, its profile and its thumbnail before the pixels included."""
_SLACK = 1 << 26
"""Bytes that a file may hold beside its pixels."""
_BAND = 1024


class Photograph(Slide):
    """An image of one level, decoded once."""

    mpp = None

    def __init__(self, path: Path, pixels: np.ndarray, profile: bytes | None) -> None:
        self.path, self._pixels, self._profile = path, pixels, profile
        self.levels = (Level(pixels.shape[0], pixels.shape[1], 1.0),)

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        return self._pixels[y : y + h, x : x + w].copy()  # the caller may write into it

    @property
    def profile(self) -> bytes | None:
        return self._profile

    @property
    def fingerprint(self) -> str:
        return file_fingerprint(self.path)


def open_photograph(path: Path) -> Photograph | None:
    """The image, or None where the file is none of the kinds known here."""
    start = first_bytes(path, 8)
    kind = next((kind for kind in KINDS if start.startswith(kind.magic)), None)
    if kind is None and not start.startswith(TIFF_MAGIC):
        return None
    try:
        pixels, profile = _tiff(path) if kind is None else _picture(path, kind)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            "the image cannot be decoded",
            got=f"{type(error).__name__}: {error}",
            where=path,
            hint="the file is damaged or cut short",
        ) from None
    return Photograph(path, _as_rgb(pixels, path), profile)


def _picture(path: Path, kind: Kind) -> tuple[np.ndarray, bytes | None]:
    size = path.stat().st_size
    head = first_bytes(path, _HEAD)
    promise = kind.promise(head, size, path)
    _check_budget(promise, size, path)
    data = head if size <= _HEAD else path.read_bytes()
    return kind.decode(data, path), kind.profile(data)


def _tiff(path: Path) -> tuple[np.ndarray, bytes | None]:
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        _check_budget(Promise(page.imagewidth, page.imagelength, page.nbytes), 0, path)
        check_colours(page, path)
        return page.asarray(), tiff_profile(page)


def _check_budget(promise: Promise, size: int, path: Path) -> None:
    if promise.width * promise.height > _MOST_PIXELS or promise.bytes > _MOST_BYTES:
        raise InputError(
            "the image is too large to be decoded at once",
            got=f"{promise.width} × {promise.height} pixels, {promise.bytes} bytes",
            expected=f"at most {_MOST_PIXELS} pixels, {_MOST_BYTES} bytes",
            where=path,
            hint="convert it to a tiled pyramidal TIFF",
        )
    if size > 2 * promise.bytes + _SLACK:
        raise InputError(
            "the file is far larger than its image",
            got=f"{size} bytes for {promise.width} × {promise.height} pixels",
            where=path,
            hint="its header is damaged, or it holds something else",
        )


def _as_rgb(pixels: np.ndarray, path: Path) -> np.ndarray:
    """uint8 RGB: grey is repeated, transparency is laid on white, 16 bits are scaled down."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.dtype not in (np.uint8, np.uint16, bool) or pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4):
        raise InputError(
            "the image is not a picture",
            got=f"{pixels.dtype} {pixels.shape}",
            expected="8 or 16 bits, grey, RGB or RGBA",
            where=path,
        )
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels)
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    for start in range(0, len(pixels), _BAND):  # what is made on the way is many times as large as the result
        rgb[start : start + _BAND] = _rows_as_rgb(pixels[start : start + _BAND])
    return rgb


def _rows_as_rgb(rows: np.ndarray) -> np.ndarray:
    if rows.dtype == np.uint16:
        rows = (rows >> 8).astype(np.uint8)
    if rows.dtype == bool:
        rows = rows.astype(np.uint8) * 255
    if rows.shape[2] in (2, 4):
        alpha = rows[:, :, -1:].astype(np.float32) / 255
        rows = np.rint(rows[:, :, :-1] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return rows
