"""The header of a JPEG 2000 codestream."""

from __future__ import annotations

import struct
from typing import NamedTuple

_START = b"\xff\x4f\xff\x51"
"""Start of codestream, and the segment SIZ that always follows."""
_SIZ = struct.Struct(">4x2H8IH")


class Siz(NamedTuple):
    """What a codestream promises."""

    height: int
    width: int
    channels: int
    tiles: int
    """Into which the codestream itself is divided."""
    subsampled: bool


def siz_of(data: bytes) -> Siz:
    """From a codestream, or a JP2 file around one. A `ValueError` where there is none."""
    start = data.find(_START)
    if start < 0 or start + _SIZ.size > len(data):
        raise ValueError("no header of a JPEG 2000 codestream")
    _, _, right, bottom, left, top, tile_w, tile_h, tile_x, tile_y, channels = _SIZ.unpack_from(data, start)
    steps = data[start + _SIZ.size : start + _SIZ.size + 3 * min(channels, 3)]
    across, down = -(-(right - tile_x) // max(tile_w, 1)), -(-(bottom - tile_y) // max(tile_h, 1))
    return Siz(bottom - top, right - left, channels, across * down, any(n != 1 for n in steps[1::3] + steps[2::3]))
