"""How many directories a TIFF has, before anybody reads them all."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from xaipipe import InputError

_MOST = 4096
"""A slide has some ten, with all levels, focal planes and labels some hundred."""
_CHILDREN = 330
"""The tag that lists directories below a directory."""


class _CircleError(Exception):
    """A directory is followed by an earlier one."""


def check_chain(path: Path) -> None:
    """Refuse a chain of directories that would take minutes to follow, or that leads back and has no end."""
    file = os.open(path, os.O_RDONLY)
    try:
        found = _directories(file)
    except _CircleError:
        hint = "the file is damaged"
        raise InputError("the TIFF's directories run in a circle", where=path, hint=hint) from None
    finally:
        os.close(file)
    if found > _MOST:
        hint = "the file is damaged, or no slide"
        raise InputError("the TIFF has too many pages", got=f"more than {_MOST}", where=path, hint=hint)


def _directories(file: int) -> int:
    """Counted until there are too many; a chain that leaves the file ends there."""
    head = os.pread(file, 16, 0)
    order, big = "<" if head[:2] == b"II" else ">", b"+" in head[:4]
    offset_kind, count_kind, entry = ("Q", "Q", "HHQQ") if big else ("I", "H", "HHII")
    if len(head) < 16:
        return 0
    (offset,) = struct.unpack_from(order + offset_kind, head, 8 if big else 4)
    found, seen = 0, set()
    while offset and found <= _MOST:
        if offset in seen:
            raise _CircleError
        seen.add(offset)
        found += 1
        entries, size = _number(file, order + count_kind, offset), struct.calcsize(order + entry)
        first = offset + struct.calcsize(order + count_kind)
        if entries is None or entries > _MOST:
            break
        table = os.pread(file, entries * size, first)
        fields = struct.iter_unpack(order + entry, table[: len(table) // size * size])
        found += sum(count for tag, _, count, _ in fields if tag == _CHILDREN)
        offset = _number(file, order + offset_kind, first + entries * size) or 0
    return found


def _number(file: int, kind: str, offset: int) -> int | None:
    data = os.pread(file, struct.calcsize(kind), min(offset, 1 << 62))
    return struct.unpack(kind, data)[0] if len(data) == struct.calcsize(kind) else None
