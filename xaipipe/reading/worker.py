"""A reader process: opens a slide and answers requests for its pixels until nobody asks any more."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pluggy

from xaipipe import hookspecs
from xaipipe.errors import XaipipeError
from xaipipe.loading import Source, blamed
from xaipipe.reading.channel import Channel, ChannelClosedError
from xaipipe.reading.messages import error_to_message, facts_to_message, refusal
from xaipipe.reading.shared import SharedMemory
from xaipipe.slides import open_by_hooks
from xaipipe.types import Slide

Message = dict[str, Any]
_LONGEST = 2000
"""Characters of what a failing reader says."""


def main(control: int, life: int, memory: int) -> None:
    """The handles of the socket, of the pipe that closes when the run dies, and of the shared memory."""
    end_with(life)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected, and nobody wants gigabytes of it on disk
    channel = Channel(socket.socket(fileno=control))
    with suppress(ChannelClosedError):
        _Reader(channel, SharedMemory(memory)).serve()
    os._exit(0)  # at once: threads of a decoder must not hold up the end


class _Reader:
    def __init__(self, channel: Channel, shared: SharedMemory) -> None:
        self._channel, self._shared = channel, shared
        self._hooks = pluggy.PluginManager("xaipipe")
        self._slide: Slide | None = None

    def serve(self) -> None:
        """Three kinds of request in this order: load, open, then read any number of times."""
        work: dict[str, Callable[..., Message]] = {"load": self._load, "open": self._open, "read": self._read}
        while True:
            request = self._channel.receive()
            self._channel.send(self._answer(work[request.pop("do")], request))

    def _answer(self, function: Callable[..., Message], request: Message) -> Message:
        try:
            return {"answer": "done", **function(**request)}
        except XaipipeError as error:
            return error_to_message(error)
        except MemoryError:
            return {"answer": "memory"}
        except OSError as error:
            return {"answer": "system", "said": refusal(error)}
        except BaseException as error:  # SystemExit too: whatever a reader does, it is answered
            return {"answer": "failed", "said": blamed(self._hooks, error)[:_LONGEST]}

    def _load(self, plugins: list[list[str | None]]) -> Message:
        self._hooks.add_hookspecs(hookspecs)
        for name, file in plugins:
            assert name is not None
            self._hooks.register(Source(name, file).load(), name=name)
        return {}

    def _open(self, place: str, limit: int) -> Message:
        before = limit_memory(limit)
        self._slide = open_by_hooks(self._hooks, place)
        facts = facts_to_message(self._slide)
        return {**facts, "held": data_bytes() - before}

    def _read(self, level: int, y: int, x: int, h: int, w: int) -> Message:
        assert self._slide is not None
        pixels = self._slide.read(level, y, x, h, w)
        got = (getattr(pixels, "dtype", None), getattr(pixels, "shape", None))
        if got != (np.uint8, (h, w, 3)):
            raise TypeError(f"read returned {got[0]} {got[1]} instead of uint8 {(h, w, 3)}")
        np.copyto(self._shared.pixels(h, w), pixels)
        return {}


def end_with(life: int) -> None:
    """Have the kernel end this process when the other end of a pipe closes, however it came to that.

    The signal needs no Python: it also ends a process that hangs inside a decoder. (The kernel's own signal at a
    parent's death comes when the thread that started the process ends, and that is not the run.)
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    try:
        closed = os.read(life, 1) == b""
    except BlockingIOError:
        closed = False
    if closed:  # before the signal was asked for
        os._exit(0)


def limit_memory(limit: int) -> int:
    """Let this process allocate so many bytes more than it has; how many it has is returned.

    Private memory counts, shared and reserved memory does not. Only Linux holds a process to it.
    """
    held = data_bytes()
    if sys.platform.startswith("linux"):
        resource.setrlimit(resource.RLIMIT_DATA, (held + limit, held + limit))
    return held


def data_bytes() -> int:
    """Private writable memory of this process; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
