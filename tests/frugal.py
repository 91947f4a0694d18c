"""What is refused has to be refused before it costs anything."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frugal(memory: float = 30e6, seconds: float = 2.0) -> Iterator[None]:
    """What is done inside takes little of either; of processors the time, since others may be at work too."""
    tracemalloc.start()
    started = time.process_time()
    try:
        yield
        assert time.process_time() - started < seconds
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()
