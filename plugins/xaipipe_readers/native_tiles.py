"""Slides stored in tiles: a read is put together from native tiles, which are decoded whole and kept for a while."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import OrderedDict

import numpy as np

from xaipipe import Slide

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
            for column in range(x // width, (x + w - 1) // width + 1):
                top, left = row * height, column * width
                first_y, first_x = max(y - top, 0), max(x - left, 0)
                last_y, last_x = min(y + h - top, height), min(x + w - left, width)
                part = self._kept(level, row, column)[first_y:last_y, first_x:last_x]
                pixels[top + first_y - y : top + last_y - y, left + first_x - x : left + last_x - x] = part
        return pixels

    def _whole(self, level: int, row: int, column: int) -> np.ndarray:
        """Who reads native tiles one by one gets them as they were decoded: nobody else will want them."""
        kept = self._cache.get((level, row, column))
        return self.decode(level, row, column) if kept is None else kept.copy()

    def _kept(self, level: int, row: int, column: int) -> np.ndarray:
        key = (level, row, column)
        tile = self._cache.get(key)
        if tile is None:
            tile = self.decode(level, row, column)
            self._cache.put(key, tile)
        return tile


class TileCache:
    """Decoded native tiles, the least recently used dropped first, bounded by bytes."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._tiles: OrderedDict[tuple[int, int, int], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int, int]) -> np.ndarray | None:
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def put(self, key: tuple[int, int, int], tile: np.ndarray) -> None:
        with self._lock:
            if key not in self._tiles:
                self._size += tile.nbytes
            self._tiles[key] = tile
            while self._size > self._limit and len(self._tiles) > 1:
                self._size -= self._tiles.popitem(last=False)[1].nbytes
