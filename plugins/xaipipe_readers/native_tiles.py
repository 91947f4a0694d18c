"""Slides stored in tiles: a read is put together from native tiles, which are decoded whole and kept for a while."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import OrderedDict

import numpy as np

from xaipipe import Slide
from xaipipe_readers.buffers import Buffers

_CACHE_BYTES = 64 << 20


class NativeTiles(Slide):
    """Reads are safe from any thread where `decode` is."""

    def __init__(self, native: tuple[tuple[int, int], ...]) -> None:
        self._native = native
        self._cache = TileCache(_CACHE_BYTES)

    @abstractmethod
    def decode(self, level: int, row: int, column: int) -> np.ndarray:
        """A native tile as an array uint8[h, w, 3] of its own; at the level's end it may be cut to it or filled up."""

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        height, width = self._native[level]
        if (h, w) == (height, width) and not y % height and not x % width:
            return self._whole(level, y // height, x // width)
        pixels = np.empty((h, w, 3), np.uint8)
        for row in range(y // height, (y + h - 1) // height + 1):
            top = row * height
            first, last = max(y - top, 0), min(y + h - top, height)
            into = pixels[top + first - y : top + last - y]
            for column in range(x // width, (x + w - 1) // width + 1):
                left = column * width
                start, stop = max(x - left, 0), min(x + w - left, width)
                tile = self._kept(level, row, column)
                into[:, left + start - x : left + stop - x] = tile[first:last, start:stop]
        return pixels

    def _whole(self, level: int, row: int, column: int) -> np.ndarray:
        """Who reads native tiles one by one gets them as they were decoded: nobody else will want them."""
        kept = self._cache.get((level, row, column))
        return self.decode(level, row, column) if kept is None else kept.copy()

    def _kept(self, level: int, row: int, column: int) -> np.ndarray:
        key = (level, row, column)
        tile = self._cache.get(key)
        return self._cache.put(key, self.decode(level, row, column)) if tile is None else tile


class TileCache:
    """Decoded native tiles, the least recently used dropped first, bounded by bytes."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._tiles: OrderedDict[tuple[int, int, int], np.ndarray] = OrderedDict()
        self._buffers = Buffers(limit)
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int, int]) -> np.ndarray | None:
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def put(self, key: tuple[int, int, int], tile: np.ndarray) -> np.ndarray:
        """The tile as it is kept; hold on to it while a part of it is looked at."""
        kept = self._buffers.copy_of(tile)
        with self._lock:
            if key not in self._tiles:
                self._size += kept.nbytes
            self._tiles[key] = kept
            while self._size > self._limit and len(self._tiles) > 1:
                self._size -= self._tiles.popitem(last=False)[1].nbytes
        return kept
