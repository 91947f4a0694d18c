"""PNG, JPEG and BMP: what their headers promise, and their pixels."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np

from xaipipe import InputError
from xaipipe_readers.icc import jpeg_profile, png_profile
from xaipipe_readers.jpeg import frame_of
from xaipipe_readers.orientation import upright


class Promise(NamedTuple):
    """What a header says that decoding will give."""

    width: int
    height: int
    bytes: int


class Kind(NamedTuple):
    """How one kind of file is read."""

    magic: bytes
    promise: Callable[[bytes, int, Path], Promise]
    """From the start of a file and its size."""
    decode: Callable[[bytes, Path], np.ndarray]
    profile: Callable[[bytes], bytes | None]


_PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}
"""By colour type; a palette may hold transparency."""


def _png_promise(head: bytes, size: int, path: Path) -> Promise:
    width, height, depth, colours = struct.unpack_from(">IIBB", head, 16)
    return Promise(width, height, width * height * _PNG_CHANNELS.get(colours, 4) * max(depth // 8, 1))


def _jpeg_promise(head: bytes, size: int, path: Path) -> Promise:
    frame, _ = frame_of(head)
    if frame.channels == 4:
        raise InputError("the JPEG is for print (CMYK)", expected="grey or RGB", where=path, hint="convert it to RGB")
    return Promise(frame.width, frame.height, frame.width * frame.height * frame.channels)


def _bmp_promise(head: bytes, size: int, path: Path) -> Promise:
    first, header, width, height, _, bits = struct.unpack_from("<10xIIiiHH", head)
    row = (width * bits + 31) // 32 * 4
    promise = Promise(width, abs(height), width * abs(height) * 4)
    if header < 40 or width < 1 or first + row * abs(height) > size:  # the decoder trusts the header
        raise InputError(
            "the BMP's header does not fit the file",
            got=f"{width} × {height} pixels of {bits} bits in {size} bytes",
            where=path,
            hint="the file is damaged or cut short, or compressed: convert it to PNG",
        )
    return promise


def _decode_jpeg(data: bytes, path: Path) -> np.ndarray:
    _, scan = frame_of(data)
    if data.find(b"\xff\xd9", scan) < 0:  # cameras append to the file, so the marker need not come last
        raise InputError("the JPEG is cut short", got="no end-of-image marker", where=path)
    return upright(imagecodecs.jpeg8_decode(data), data)


KINDS = (
    Kind(b"\x89PNG\r\n\x1a\n", _png_promise, lambda data, path: imagecodecs.png_decode(data), png_profile),
    Kind(b"\xff\xd8\xff", _jpeg_promise, _decode_jpeg, jpeg_profile),
    Kind(b"BM", _bmp_promise, lambda data, path: imagecodecs.bmp_decode(data), lambda data: None),
)
