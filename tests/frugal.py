"""What is refused has to be refused before it costs anything."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frugal(memory: float = 30e6, seconds: float = 10.0) -> Iterator[None]:
    """What is done inside takes little of either; seconds are those of a machine that is busy with other tests too."""
    tracemalloc.start()
    started = time.perf_counter()
    try:
        yield
        assert time.perf_counter() - started < seconds
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()
