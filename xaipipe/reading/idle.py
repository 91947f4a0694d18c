"""Reader processes that wait for work."""

from __future__ import annotations

import threading

from xaipipe.reading.process import ReaderProcess


class IdleReaders:
    """A place for each process that may run; an empty one stands for a process that is still to be started.

    A thread gets the process that it had last, where that is idle: neighbouring tiles share parts that the process has
    decoded already.
    """

    def __init__(self, first: ReaderProcess, places: int) -> None:
        self._places: list[ReaderProcess | None] = [*(None,) * (places - 1), first]
        self._free = threading.Condition()
        self._own = threading.local()

    def take(self) -> ReaderProcess | None:
        with self._free:
            self._free.wait_for(lambda: self._places)
            last = getattr(self._own, "process", None)
            known = last is not None and last in self._places
            return self._places.pop(self._places.index(last) if known else -1)

    def give(self, process: ReaderProcess | None) -> None:
        self._own.process = process
        with self._free:
            self._places.append(process)
            self._free.notify()

    def empty(self) -> list[ReaderProcess]:
        """All that are idle, which are not given out any more."""
        with self._free:
            idle = [process for process in self._places if process is not None]
            self._places = [None] * len(self._places)
            return idle
