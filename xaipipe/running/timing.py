"""How long each kind of stage took."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

from xaipipe.hookspecs import hookimpl
from xaipipe.running.run import Run
from xaipipe.stages import Stage


class StageTiming:
    """Adds up the seconds of every stage, over all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @hookimpl(wrapper=True)
    def run_stage(self, stage: Stage, item: Any, run: Run) -> Generator[None, Any, Any]:
        started = time.perf_counter()
        try:
            return (yield)
        finally:
            with self._lock:
                spent = time.perf_counter() - started
                run.seconds[stage.kind] = run.seconds.get(stage.kind, 0.0) + spent
