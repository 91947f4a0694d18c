"""Runs that kill themselves: `python -m tests.store.killed_run SLIDE FOLDER EVENT…`, each into FOLDER/EVENT.zarr.

Events are counted over everything that makes a commit durable: syncs, renames, rows of the ledger. Prints the events
that came; a run may end before. Each run is a fork of a process that has imported everything, and computed nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.store.runs import pipeline
from xaipipe_store.ledger import Ledger


class Killer:
    """Stops the process for good before the event of a number."""

    def __init__(self, event: int) -> None:
        self._left = event

    def wrap(self, owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._left -= 1
            return original(*arguments, **named)

        setattr(owner, name, counted)


def run_until(slide: str, output: Path, event: int) -> None:
    killer = Killer(event)
    for owner, name in ((os, "fsync"), (Path, "replace"), (Ledger, "_run"), (Ledger, "_transaction")):
        killer.wrap(owner, name)
    pipeline(run={"isolate": False}).run(slide, output)  # so that a kill is of this process alone


def was_killed(slide: str, output: Path, event: int) -> bool:
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            run_until(slide, output, event)
            ended = 0
        finally:
            os._exit(ended)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status):
        sys.exit(f"the run to be killed at event {event} failed by itself")
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


if __name__ == "__main__":
    slide, folder, *events = sys.argv[1:]
    print(*(event for event in events if was_killed(slide, Path(folder) / f"{event}.zarr", int(event))))
