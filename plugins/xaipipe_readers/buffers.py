"""Memory for tiles that are kept a while, used again and again."""

from __future__ import annotations

import threading
import weakref
from collections import deque

import numpy as np


class Buffers:
    """Equal buffers, cut from one large piece of memory.

    Memory that is new comes from the system page by page, and for a tile that takes half as long as decoding it does.
    One large piece comes in large pages, and a buffer that nobody holds any more is handed out again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._shape: tuple[int, ...] | None = None
        self._free: deque[np.ndarray] = deque()

    def copy_of(self, array: np.ndarray) -> np.ndarray:
        """The array in a buffer; itself where its shape is not that of the first, or all are in use.

        Hold on to what is returned while a part of it is looked at: a slice of it does not.
        """
        with self._lock:
            if self._shape is None:
                self._shape = array.shape
                self._free.extend(np.empty((self._limit // array.nbytes, *array.shape), array.dtype))
        if array.shape != self._shape:
            return array
        try:
            buffer = self._free.pop()
        except IndexError:
            return array
        held = buffer.view()
        weakref.finalize(held, self._free.append, buffer).atexit = False
        held[...] = array
        return held
