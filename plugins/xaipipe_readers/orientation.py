"""Photographs as they were taken: the EXIF orientation of a JPEG."""

from __future__ import annotations

import struct

import numpy as np

from xaipipe_readers.jpeg import segments

_APP1 = 0xE1
_ORIENTATION = 0x0112
_TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}
"""Quarter turns against the clock, after a mirror image left to right where True."""


def upright(pixels: np.ndarray, jpeg: bytes) -> np.ndarray:
    """The picture as a viewer shows it."""
    turns, mirrored = _TURNS.get(exif_orientation(jpeg), (0, False))
    return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if mirrored else pixels, turns))


def exif_orientation(jpeg: bytes) -> int:
    """1 … 8; 1, upright, where the file does not say or says it wrongly."""
    try:
        exif = _exif(jpeg)
        order = "<" if exif[:2] == b"II" else ">"
        (first,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, first)
        for entry in range(first + 2, first + 2 + 12 * entries, 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", exif, entry)
            if tag == _ORIENTATION:
                return value if value in _TURNS else 1
    except (struct.error, IndexError):
        pass
    return 1


def _exif(jpeg: bytes) -> bytes:
    """The TIFF inside the APP1 segment; empty where there is none."""
    for marker, start, end in segments(jpeg):
        if marker == _APP1 and jpeg[start : start + 6] == b"Exif\0\0":
            return jpeg[start + 6 : end]
    return b""
