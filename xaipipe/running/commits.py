"""What has to be committed, and writing it behind the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from xaipipe.running.quarantine import commit_noting
from xaipipe.running.run import Redone, Run
from xaipipe.types import Region, Unreadable

COMMITS_IN_FLIGHT = 2


def needed(run: Run, array: str, region: Region) -> bool:
    """Whether a region has to be computed; in a resumed run, with the reason noted."""
    if not all(run.plan.layout.array(array).cells(region)[2:]):
        return False
    reason = run.config.store.missing(array, region)
    if reason is not None and run.resumed:
        run.redone.append(Redone(array, region, reason))
    return reason is not None


def any_needed(run: Run, arrays: tuple[str, ...], region: Region) -> bool:
    """All are asked, since each says why."""
    answers = [needed(run, array, region) for array in arrays]
    return any(answers)


class Commits:
    """Writes behind the explaining, never more than a few regions behind."""

    def __init__(self, run: Run, writer: ThreadPoolExecutor) -> None:
        self._run, self._writer = run, writer
        self._waiting: deque[Future[None]] = deque()

    def submit(self, region: Region, arrays: Mapping[str, Any], parts: tuple[Unreadable, ...] = ()) -> None:
        self._waiting.append(self._writer.submit(commit_noting, self._run, region, arrays, parts))
        while len(self._waiting) > COMMITS_IN_FLIGHT:
            self._waiting.popleft().result()

    def finish(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()
