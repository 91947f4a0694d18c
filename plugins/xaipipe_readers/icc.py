"""Where files keep their ICC profile."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from xaipipe_readers.jpeg import segments

_MOST_BYTES = 1 << 24
"""Scanners write some hundred kilobytes."""
_JPEG_MARK = b"ICC_PROFILE\0"
_APP2 = 0xE2


def tiff_profile(page: Any) -> bytes | None:
    """Of a page, in a tag of its own."""
    profile = page.iccprofile
    return profile if isinstance(profile, bytes) else None


def png_profile(data: bytes) -> bytes | None:
    """From the chunk iCCP: a name, a zero, the method 0, then the profile deflated."""
    for kind, chunk in _png_chunks(data):
        if kind == b"iCCP":
            try:
                return zlib.decompressobj().decompress(chunk.partition(b"\0")[2][1:], _MOST_BYTES)
            except zlib.error:
                return b""  # there is one, and it is damaged
    return None


def jpeg_profile(data: bytes) -> bytes | None:
    """From the APP2 segments: a mark, their number and their count, then a piece of the profile."""
    head = len(_JPEG_MARK)
    found = [data[start:end] for marker, start, end in segments(data) if marker == _APP2]
    pieces = {piece[head]: piece[head + 2 :] for piece in found if piece.startswith(_JPEG_MARK) and len(piece) > head}
    return b"".join(pieces[number] for number in sorted(pieces)) if pieces else None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of everything before the pixels."""
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            break
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length
