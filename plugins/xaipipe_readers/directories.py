"""The chain of a TIFF's directories."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from xaipipe import InputError

_CLASSIC, _BIG = ("H", 12, "I"), ("Q", 20, "Q")
"""How the number of entries is written, bytes of an entry, and how the place of the next directory is written."""


def check_chain(path: Path) -> None:
    """Refuse directories that run in a circle, which would be followed for ever."""
    with path.open("rb") as file:
        header = file.read(16)
        order = "<" if header[:2] == b"II" else ">"
        big = b"+" in header[2:4]
        number, entry, link = _BIG if big else _CLASSIC
        position = struct.unpack_from(order + link, header, 8 if big else 4)[0] if len(header) == 16 else 0
        seen: set[int] = set()
        while position:
            if position in seen:
                raise InputError(
                    "the TIFF's directories run in a circle",
                    got=f"directory {len(seen)} is followed by an earlier one",
                    where=path,
                    hint="the file is damaged",
                )
            seen.add(position)
            position = _next(file, position, order, number, entry, link)


def _next(file: BinaryIO, position: int, order: str, number: str, entry: int, link: str) -> int:
    """Where the next directory lies; 0 where there is none, or where the chain leads nowhere."""
    try:
        file.seek(position)
        (entries,) = struct.unpack(order + number, file.read(struct.calcsize(number)))
        file.seek(entries * entry, 1)
        return struct.unpack(order + link, file.read(struct.calcsize(link)))[0]
    except (struct.error, OSError, ValueError, OverflowError):  # the last two for places that no file has
        return 0
