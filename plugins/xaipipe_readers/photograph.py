"""Images that fit in memory: PNG, JPEG, BMP and plain TIFF."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from xaipipe import InputError, Level, Slide
from xaipipe_readers.files import file_fingerprint, first_bytes
from xaipipe_readers.orientation import upright

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
        return self._pixels[y : y + h, x : x + w].copy()  # the caller may write into it

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
    width, height, channels, scan = _jpeg_header(data)
    _check_size(width, height, path)
    if channels == 4:
        raise InputError("the JPEG is for print (CMYK)", expected="grey or RGB", where=path, hint="convert it to RGB")
    if data.find(b"\xff\xd9", scan) < 0:  # cameras append to the file, so the marker need not come last
        raise InputError("the JPEG is cut short", got="no end-of-image marker", where=path)
    return upright(imagecodecs.jpeg8_decode(data), data)


def _jpeg_header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, channels, and where the pixels start."""
    width = height = channels = 0
    position, marker = 2, 0
    while marker != _START_OF_SCAN:
        start, marker = data[position], data[position + 1]
        if start != 0xFF or marker == 0xFF:  # any number of fill bytes may stand before a marker
            position += 1
            continue
        if marker in _START_OF_FRAME:
            height, width, channels = struct.unpack_from(">HHB", data, position + 5)
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return width, height, channels, position


_START_OF_SCAN = 0xDA
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def _bmp(path: Path) -> np.ndarray:
    data = path.read_bytes()
    first, header, width, height, _, bits = struct.unpack_from("<10xIIiiHH", data)
    _check_size(width, abs(height), path)
    row = (width * bits + 31) // 32 * 4
    if header < 40 or width < 1 or not height or first + row * abs(height) > len(data):  # the decoder trusts the header
        raise InputError(
            "the BMP's header does not fit the file",
            got=f"{width} × {height} pixels of {bits} bits in {len(data)} bytes",
            where=path,
            hint="the file is damaged or cut short, or compressed: convert it to PNG",
        )
    return imagecodecs.bmp_decode(data)


def _tiff(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        _check_size(page.imagewidth, page.imagelength, path)
        check_colours(page, path)
        return page.asarray()


def check_colours(page: Any, where: object) -> None:
    """Ink, palette indices and inverted grey would pass for RGB or grey, and be silently wrong."""
    plain_ycbcr = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression not in _JPEG
    if page.photometric not in _COLOURS or plain_ycbcr:
        raise InputError(
            "the TIFF's colours are of a kind that cannot be read",
            got=getattr(page.photometric, "name", page.photometric),
            expected="grey, RGB, or YCbCr inside JPEG",
            where=where,
            hint="convert it to RGB",
        )


_JPEG = (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
_COLOURS = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)

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
