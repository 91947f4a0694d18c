"""A slide whose reader lives in other processes, which may crash, hang and swallow memory without harm to the run."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from xaipipe.errors import InputError, SlideLostError, UnreadableError
from xaipipe.loading import Source
from xaipipe.reading.idle import IdleReaders
from xaipipe.reading.messages import SlideFacts, error_from_message, error_to_message
from xaipipe.reading.process import Limits, ReaderLostError, ReaderProcess
from xaipipe.types import Slide

T = TypeVar("T")
Box = tuple[int, int, int, int, int]
ATTEMPTS = 2
"""How often a request is tried before it is given up, each time in a fresh process."""
_TOO_MUCH_TO_HOLD_TWICE = 256 << 20


class GuardedSlide(Slide):
    """Reads through up to `limits.readers` processes, which are started when they are needed."""

    def __init__(self, place: str | Path, plugins: Sequence[Source], limits: Limits) -> None:
        self.place = place
        self._plugins, self._limits = plugins, limits
        self._given_up: dict[Box, dict[str, Any]] = {}
        self._facts: SlideFacts | None = None
        self._living = _Living()
        weakref.finalize(self, self._living.close)
        try:
            first, facts, held = _persistent(self._opened)
        except ReaderLostError as lost:
            raise InputError("the slide cannot be opened", got=lost.reason, where=place, hint=lost.hint) from None
        self._facts = facts
        self.levels, self.mpp, self.notes = facts.levels, facts.mpp, facts.notes
        # a photograph is decoded whole, and held by every process that has it open
        count = 1 if held > _TOO_MUCH_TO_HOLD_TWICE else limits.readers
        self._idle = IdleReaders(first, count)

    @property
    def fingerprint(self) -> str:
        """Of the file as it was opened."""
        return self._known.fingerprint

    @property
    def name(self) -> str:
        return self._known.name

    @property
    def location(self) -> str | None:
        return self._known.location

    @property
    def profile(self) -> bytes | None:
        return self._known.profile

    @property
    def _known(self) -> SlideFacts:
        assert self._facts is not None
        return self._facts

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray[Any, Any]:
        box = (level, y, x, h, w)
        if box in self._given_up:  # a decoder that hangs is not waited for again
            raise error_from_message(self._given_up[box], UnreadableError)
        try:
            return _persistent(lambda: self._read(box))
        except ReaderLostError as lost:
            facts = {"got": lost.reason, "where": self._place(box), "hint": lost.hint}
            error = UnreadableError("a part of the slide cannot be read", **facts)
        except UnreadableError as worded:
            worded.facts["where"] = worded.facts["where"] or self._place(box)
            error = worded
        self._given_up[box] = error_to_message(error)
        raise error

    def interrupt(self) -> None:
        self._living.end()

    def close(self) -> None:
        self._living.end()
        for process in self._idle.empty():
            self._living.lose(process)

    def _read(self, box: Box) -> np.ndarray[Any, Any]:
        process = self._idle.take()
        try:
            if process is None:
                process = self._again()
            return process.read(*box)
        except UnreadableError:  # in the reader's own words: it is well
            raise
        except BaseException:  # KeyboardInterrupt too: nobody waits for its answer any more
            if process is not None:
                self._living.lose(process)
            process = None
            raise
        finally:
            self._idle.give(process)

    def _again(self) -> ReaderProcess:
        """One more process with the same slide."""
        try:
            process, facts, _ = _persistent(self._opened, (ReaderLostError, InputError))
        except (ReaderLostError, InputError) as error:
            raise SlideLostError("the slide cannot be opened any more", got=error, where=self.place) from None
        if facts != self._facts:
            self._living.lose(process)
            raise SlideLostError("the slide changed while it was read", where=self.place, hint="begin anew")
        return process

    def _opened(self) -> tuple[ReaderProcess, SlideFacts, int]:
        process = self._living.add(lambda: ReaderProcess(self._plugins, self._limits))
        try:
            return process, *process.open(self.place)
        except BaseException:
            self._living.lose(process)
            raise

    def _place(self, box: Box) -> str:
        level, y, x, h, w = box
        return f"{self.place} level {level} y={y} x={x} h={h} w={w}"


class _Living:
    """The processes of a slide, so that they can be ended while others wait for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[ReaderProcess] = set()
        self._ended = threading.Event()

    def add(self, start: Callable[[], ReaderProcess]) -> ReaderProcess:
        if not self._ended.is_set():
            process = start()
            with self._lock:
                self._processes.add(process)
                if not self._ended.is_set():
                    return process
            self.lose(process)
        raise InputError("the slide is closed")

    def lose(self, process: ReaderProcess) -> None:
        with self._lock:
            self._processes.discard(process)
        process.close()

    def end(self) -> None:
        with self._lock:
            self._ended.set()
            for process in self._processes:
                process.end()

    def close(self) -> None:
        """End them all, when nobody waits for them any more."""
        for process in tuple(self._processes):
            self.lose(process)


def _persistent(attempt: Callable[[], T], failures: tuple[type[Exception], ...] = (ReaderLostError,)) -> T:
    """Its result, or what went wrong with the last of so many attempts."""
    for _ in range(ATTEMPTS - 1):
        try:
            return attempt()
        except failures:
            continue
    return attempt()
