"""Threads that work ahead of whoever takes their results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from xaipipe.running.run import Run

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def reading(run: Run, name: str) -> Iterator[ThreadPoolExecutor]:
    """Threads that read; where the run ends early, a read that hangs does not hold up the end."""
    with ThreadPoolExecutor(run.config.run.readers, name) as pool:
        try:
            yield pool
        except BaseException:
            run.plan.tiling.slide.interrupt()
            raise


def overlapped(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """`map` over a pool, in order, with at most `ahead` results computed before they are asked for."""
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
