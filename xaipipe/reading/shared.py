"""Memory that two processes see, without a name: nothing is left behind, however they end."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from typing import Any

import numpy as np


class SharedMemory:
    """Room for the pixels of one answer; as large as the largest so far."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._room = self._size = 0
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls) -> SharedMemory:
        """In memory where the system can (Linux), else in a file that has no name any more."""
        if not hasattr(os, "memfd_create"):
            with tempfile.TemporaryFile() as file:
                return cls(os.dup(file.fileno()))
        handle = os.memfd_create("xaipipe", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # whoever looks at memory that the other has cut short dies of it
        fcntl.fcntl(handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return cls(handle)

    def reserve(self, size: int) -> None:
        """Make room; called by the side that asks."""
        if size > self._room:
            os.ftruncate(self.handle, size)
            self._room = size

    def pixels(self, h: int, w: int) -> np.ndarray[Any, Any]:
        """The first h · w pixels, as uint8[h, w, 3], in place."""
        size = h * w * 3
        if self._map is None or size > self._size:
            self._map, self._size = mmap.mmap(self.handle, size), size
        return np.frombuffer(self._map, np.uint8, size).reshape(h, w, 3)

    def close(self) -> None:
        self._map = None
        os.close(self.handle)
