"""Keeping memory bounded on slides of any size."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE = 1 << 20


def return_large_buffers() -> None:
    """Have glibc give large buffers back to the system when they are freed.

    By default it raises the size from which it does so to that of the buffers that a program uses, up to 32 MiB. The
    buffers of batches and regions, allocated and freed by several threads, then leave holes in its heaps, and memory
    grows with the slide although nothing holds it. Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        set_option = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    set_option(_M_MMAP_THRESHOLD, _LARGE)
    set_option(_M_TRIM_THRESHOLD, _LARGE)
