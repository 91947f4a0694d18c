"""Damage, chosen by a seeded generator: what a disk, a network and a malicious hand do to a file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np

_EXTREMES = (0, 1, 2, 3, 7, 8, 255, 256, 65_535, 65_536, 1 << 20, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_HEADER = 400
Chance = np.random.Generator


def mutated(data: bytes, chance: Chance) -> bytes:
    """Up to three kinds of damage."""
    for _ in range(int(chance.integers(1, 4))):
        data = _KINDS[int(chance.integers(len(_KINDS)))](data, chance)
    return data


def flipped(data: bytes, chance: Chance) -> bytes:
    """Single bits, anywhere."""
    return _flipped(data, chance, len(data))


def header_flipped(data: bytes, chance: Chance) -> bytes:
    return _flipped(data, chance, min(len(data), _HEADER))


def cut(data: bytes, chance: Chance) -> bytes:
    return data[: int(chance.integers(8, len(data)))] if len(data) > 8 else data


def blanked(data: bytes, chance: Chance) -> bytes:
    """A run of zeros or of ones, as a lost block leaves it."""
    start = int(chance.integers(len(data)))
    length = int(chance.integers(1, 2000))
    fill = bytes([int(chance.choice([0, 255]))])
    return data[:start] + fill * min(length, len(data) - start) + data[start + length :]


def moved(data: bytes, chance: Chance) -> bytes:
    """A block stands where another should."""
    length = int(chance.integers(1, max(len(data) // 4, 2)))
    source, target = (int(chance.integers(max(len(data) - length, 1))) for _ in range(2))
    return data[:target] + data[source : source + length] + data[target + length :]


def extreme(data: bytes, chance: Chance) -> bytes:
    """A field of the header holds an extreme: sizes, tiles, offsets, counts, kinds of compression and colour."""
    fields = _tiff_fields(data) or _png_fields(data) or _plain_fields(data)
    if not fields:
        return data
    changed = bytearray(data)
    for _ in range(int(chance.integers(1, 3))):
        position, kind = fields[int(chance.integers(len(fields)))]
        size = struct.calcsize(kind)
        if position + size <= len(changed):
            value = int(chance.choice(_EXTREMES)) if chance.random() < 0.7 else int(chance.integers(1 << 32))
            struct.pack_into(kind, changed, position, value % (1 << (8 * size)))
    return _with_sum(changed)


_KINDS: tuple[Callable[[bytes, Chance], bytes], ...] = (
    flipped, header_flipped, cut, blanked, moved, extreme, extreme, extreme
)  # fmt: skip


def _flipped(data: bytes, chance: Chance, among: int) -> bytes:
    changed = bytearray(data)
    for place in chance.integers(among, size=int(chance.integers(1, 12))) if among else ():
        changed[place] ^= 1 << int(chance.integers(8))
    return bytes(changed)


def _tiff_fields(data: bytes) -> list[tuple[int, str]]:
    """Every kind, count and value of every entry of a classic TIFF's directories, and the links between them."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return []
    fields, seen = [(4, order + "I")], set()
    try:
        (position,) = struct.unpack_from(order + "I", data, 4)
        while position and position not in seen:
            seen.add(position)
            (entries,) = struct.unpack_from(order + "H", data, position)
            fields.append((position, order + "H"))
            for entry in range(position + 2, position + 2 + 12 * entries, 12):
                fields += [(entry + 2, order + "H"), (entry + 4, order + "I"), (entry + 8, order + "I")]
                fields += [(entry + 8, order + "H")] * 2
            fields.append((position + 2 + 12 * entries, order + "I"))
            (position,) = struct.unpack_from(order + "I", data, position + 2 + 12 * entries)
    except struct.error:
        pass
    return fields


def _png_fields(data: bytes) -> list[tuple[int, str]]:
    if data[:4] != b"\x89PNG":
        return []
    return [(16, ">I"), (20, ">I"), (24, ">B"), (25, ">B"), (28, ">B"), (33, ">I")]


def _plain_fields(data: bytes) -> list[tuple[int, str]]:
    """Of a BMP or JPEG, and of a BigTIFF: every pair of bytes near the start."""
    return [(place, ">H") for place in range(2, min(len(data), 60), 2)]


def _with_sum(data: bytearray) -> bytes:
    """A PNG's header with the sum that belongs to it: a decoder would stop there."""
    if data[:4] == b"\x89PNG" and len(data) > 33:
        struct.pack_into(">I", data, 29, zlib.crc32(bytes(data[12:29])))
    return bytes(data)
