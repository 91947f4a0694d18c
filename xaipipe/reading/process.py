"""The run's end of one reader process: start it, ask it, end it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xaipipe.errors import InputError, UnreadableError, XaipipeError
from xaipipe.loading import Source
from xaipipe.reading.channel import Channel, ChannelClosedError
from xaipipe.reading.messages import SlideFacts, error_from_message, facts_from_message
from xaipipe.reading.shared import SharedMemory

_START = (
    "import sys; control, life, memory, *sys.path = sys.argv[1:]; "
    "from xaipipe.reading.worker import main; main(int(control), int(life), int(memory))"
)
_STARTING = 120.0
"""Seconds for Python and the plugins to load, on a machine that is busy."""
_ENDING = 5.0
"""Seconds until a process that closed its connection has to be gone."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Limits:
    """What reading may cost."""

    readers: int
    """Processes at once."""
    timeout: float
    """Seconds for one request."""
    memory: int
    """Bytes that a process may allocate once its plugins are loaded."""


class ReaderLostError(Exception):
    """A process that came to no answer; another one may."""

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


class ReaderProcess:
    """One process with the slide open. Serves one request at a time."""

    def __init__(self, plugins: Sequence[Source], limits: Limits) -> None:
        self._limits = limits
        self._shared = SharedMemory.create()
        ours, theirs = socket.socketpair()
        life, self._life = os.pipe()
        self._channel = Channel(ours)
        try:
            self._process = _started(theirs.fileno(), life, self._shared.handle)
        except BaseException:
            self._let_go()
            raise
        finally:
            theirs.close()
            os.close(life)
        try:
            self._load(plugins)
        except BaseException:
            self.close()
            raise

    def open(self, place: str | Path) -> tuple[SlideFacts, int]:
        """What the slide is, and how many bytes the process holds to have it open."""
        answer = self._ask({"do": "open", "place": str(place), "limit": self._limits.memory}, self._limits.timeout)
        if answer["answer"] == "error":
            raise error_from_message(answer)
        if answer["answer"] == "failed":
            raise InputError("a reader failed on this file", got=answer["said"], where=place)
        return facts_from_message(answer, place), answer["held"]

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray[Any, Any]:
        self._shared.reserve(h * w * 3)
        request = {"do": "read", "level": level, "y": y, "x": x, "h": h, "w": w}
        answer = self._ask(request, self._limits.timeout)
        if answer["answer"] == "error":
            raise error_from_message(answer, UnreadableError)
        if answer["answer"] == "failed":
            raise UnreadableError("a reader failed on a part of the slide", got=answer["said"])
        return self._shared.pixels(h, w).copy()

    def end(self) -> None:
        """At once, with whatever the process started; may be called from another thread, and twice."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):  # it ended just now
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """End it and release what was held for it; by the thread that asks."""
        self.end()
        self._let_go()

    def _load(self, plugins: Sequence[Source]) -> None:
        request = {"do": "load", "plugins": [[source.name, source.file] for source in plugins]}
        try:
            answer = self._ask(request, _STARTING)
        except ReaderLostError as lost:
            raise _cannot_start(lost.reason) from None
        if answer["answer"] != "done":
            raise _cannot_start(str(answer.get("said") or answer.get("problem")))

    def _let_go(self) -> None:
        self._channel.close()
        os.close(self._life)
        self._shared.close()

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            self._channel.send(request)
            answer = self._channel.receive(seconds)
        except TimeoutError:
            hint = "[run] read_timeout sets the limit"
            raise ReaderLostError(f"the reader took longer than {seconds:g} s", hint) from None
        except ChannelClosedError:
            raise ReaderLostError(self._last_words()) from None
        if answer.get("answer") == "memory":
            size = f"{self._limits.memory / 2**20:.0f} MiB"
            raise ReaderLostError(f"the reader ran out of memory ({size})", "[run] reader_memory sets the limit")
        if answer.get("answer") == "system":
            raise ReaderLostError(f"the system refused to read: {answer['said']}")
        return answer

    def _last_words(self) -> str:
        """How the process ended."""
        try:
            code = self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            return "the reader closed its connection"
        if code >= 0:
            return f"the reader ended its process (exit code {code})"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
        return f"the reader crashed (signal {-code}, {name})"


def _started(control: int, life: int, memory: int) -> subprocess.Popen[bytes]:
    """A fresh interpreter with our module path: nothing of a process with threads and CUDA is forked."""
    handles = (control, life, memory)
    paths = [entry for entry in sys.path if isinstance(entry, str)]
    command = [sys.executable, "-c", _START, *map(str, handles), *paths]
    silent = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            command,
            pass_fds=handles,
            stdin=silent,
            stdout=silent,
            stderr=silent,
            env={**os.environ, **_ONE_THREAD},
            process_group=0,  # Ctrl-C is for the run, which ends its readers
        )
    except OSError as error:
        raise _cannot_start(error.strerror or str(error)) from None


def _cannot_start(why: str) -> XaipipeError:
    hint = "[run] isolate = false reads in the process of the run"
    return XaipipeError("a reader process cannot be started", got=why, hint=hint)
