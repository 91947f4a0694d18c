"""Keeping several things going at once, and never more than a few: reading ahead, writing behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from xaipipe.running.run import Redone, Run
from xaipipe.types import Region

T = TypeVar("T")
R = TypeVar("R")
COMMITS_IN_FLIGHT = 2


def needed(run: Run, array: str, region: Region) -> bool:
    """Whether a region has to be computed; in a resumed run, with the reason noted."""
    if not all(run.plan.layout.array(array).cells(region)[2:]):
        return False
    reason = run.config.store.missing(array, region)
    if reason is not None and run.resumed:
        run.redone.append(Redone(array, region, reason))
    return reason is not None


def commit(run: Run, array: str, region: Region, data: Any) -> None:
    """Hand one region of one array to the store, where it has any cells there."""
    if data.size:
        run.receipts.append(run.stage(run.config.store, (array, region, data)))


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


class Commits:
    """Writes behind the explaining, never more than a few regions behind."""

    def __init__(self, run: Run, writer: ThreadPoolExecutor) -> None:
        self._run, self._writer = run, writer
        self._waiting: deque[Future[None]] = deque()

    def submit(self, array: str, region: Region, data: Any) -> None:
        self._waiting.append(self._writer.submit(commit, self._run, array, region, data))
        while len(self._waiting) > COMMITS_IN_FLIGHT:
            self._waiting.popleft().result()

    def finish(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()
