"""What has to be committed, and writing it behind the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from xaipipe.running import diagnostics
from xaipipe.running.diagnostics import Diagnostics
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


def to_explain(run: Run, region: Region) -> bool:
    """Whether anything of the first pass has to be computed; all are asked, since each says why."""
    answers = [needed(run, array.name, region) for array in run.plan.layout.first_pass]
    return any(answers)


class Commits:
    """Writes behind the explaining, never more than a few regions behind."""

    def __init__(self, run: Run, writer: ThreadPoolExecutor) -> None:
        self._run, self._writer = run, writer
        self._waiting: deque[Future[None]] = deque()

    def submit(
        self,
        region: Region,
        arrays: Mapping[str, Any],
        parts: tuple[Unreadable, ...] = (),
        said: Diagnostics | None = None,
    ) -> None:
        self._waiting.append(self._writer.submit(self._commit, region, arrays, parts, said))
        while len(self._waiting) > COMMITS_IN_FLIGHT:
            self._waiting.popleft().result()

    def _commit(
        self, region: Region, arrays: Mapping[str, Any], parts: tuple[Unreadable, ...], said: Diagnostics | None
    ) -> None:
        """What tiles said is there before their region is: one that is committed is not explained again."""
        if said is not None:
            diagnostics.keep(self._run.config.store, region, said)
        commit_noting(self._run, region, arrays, parts)

    def finish(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()
