"""The segments before a JPEG's pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_START_OF_SCAN = 0xDA
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a segment."""


class Frame(NamedTuple):
    """What a JPEG's header promises."""

    height: int
    width: int
    channels: int


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment's content, up to the first scan, which is the last one given."""
    position, marker = 2, 0
    while marker != _START_OF_SCAN:
        if data[position] != 0xFF or data[position + 1] == 0xFF:  # any number of fill bytes may stand before a marker
            position += 1
            continue
        marker = data[position + 1]
        position += 2
        if marker not in _ALONE:
            (length,) = struct.unpack_from(">H", data, position)
            yield marker, position + 2, position + length
            position += length


def frame_of(data: bytes) -> tuple[Frame, int]:
    """The frame, and where the pixels start. An `IndexError` or `struct.error` where the data ends before them."""
    frame = Frame(0, 0, 0)
    scan = 0
    for marker, start, end in segments(data):
        if marker in _START_OF_FRAME:
            frame = Frame(*struct.unpack_from(">HHB", data, start + 1))
        scan = end
    return frame, scan
