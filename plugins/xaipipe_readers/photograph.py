"""Images that fit in memory: PNG, JPEG, BMP and plain TIFF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from xaipipe import InputError, Level, Slide
from xaipipe_readers.files import file_fingerprint, first_bytes

MAX_PIXELS = 1 << 30
"""A photograph larger than this is refused from its header, before it is decoded."""


class Photograph(Slide):
    """An image of one level, decoded once."""

    mpp = None

    def __init__(self, path: Path, pixels: np.ndarray) -> None:
        self.path = path
        self.levels = (Level(pixels.shape[0], pixels.shape[1], 1.0),)
        self._pixels = pixels

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        return self._pixels[y : y + h, x : x + w]

    @property
    def fingerprint(self) -> str:
        return file_fingerprint(self.path)


def open_photograph(path: Path) -> Photograph | None:
    """The image, or None where the file is none of the kinds known here."""
    start = first_bytes(path, 32)
    decode = next((decoder for magic, decoder in _DECODERS.items() if start.startswith(magic)), None)
    if decode is None:
        return None
    try:
        pixels = decode(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            "the image cannot be decoded",
            got=f"{type(error).__name__}: {error}",
            where=path,
            hint="the file is damaged or cut short",
        ) from None
    return Photograph(path, _as_rgb(pixels, path))


def _png(path: Path) -> np.ndarray:
    data = path.read_bytes()
    if data[12:16] == b"IHDR":
        _check_size(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), path)
    return imagecodecs.png_decode(data)


def _jpeg(path: Path) -> np.ndarray:
    data = path.read_bytes()
    if not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise InputError("the JPEG is cut short", got="no end-of-image marker", where=path)
    return imagecodecs.jpeg8_decode(data)


def _bmp(path: Path) -> np.ndarray:
    return imagecodecs.bmp_decode(path.read_bytes())


def _tiff(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        _check_size(page.imagewidth, page.imagelength, path)
        return page.asarray()


_DECODERS: dict[bytes, Callable[[Path], np.ndarray]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8\xff": _jpeg,
    b"BM": _bmp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"II+\0": _tiff,
    b"MM\0+": _tiff,
}


def _check_size(width: int, height: int, path: Path) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(
            "the image is too large to be decoded at once",
            got=f"{width} × {height} pixels",
            expected=f"at most {MAX_PIXELS} pixels",
            where=path,
            hint="convert it to a tiled pyramidal TIFF",
        )


def _as_rgb(pixels: np.ndarray, path: Path) -> np.ndarray:
    """uint8 RGB: grey is repeated, transparency is laid on white, 16 bits are scaled down."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4):
        raise InputError(
            "the image is not a picture",
            got=f"{pixels.dtype} {pixels.shape}",
            expected="8 or 16 bits, grey, RGB or RGBA",
            where=path,
        )
    if pixels.shape[2] in (2, 4):
        alpha = pixels[:, :, -1:].astype(np.float32) / 255
        pixels = np.rint(pixels[:, :, :-1] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels)
