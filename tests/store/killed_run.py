"""A run that kills itself: `python -m tests.store.killed_run SLIDE OUTPUT EVENT`.

Events are counted over everything that makes a commit durable: syncs, renames, rows of the ledger.
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


if __name__ == "__main__":
    slide, output, event = sys.argv[1:]
    killer = Killer(int(event))
    for owner, name in ((os, "fsync"), (Path, "replace"), (Ledger, "_run"), (Ledger, "_transaction")):
        killer.wrap(owner, name)
    pipeline().run(slide, output)
