"""Small messages between two processes: JSON, since what a reader process sends is not to be trusted like a pickle."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

_LENGTH = struct.Struct("!I")
_LONGEST = 8 << 20


class ChannelClosedError(Exception):
    """The other side is gone, or sent what is no message."""


class Channel:
    """One end of a connection."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        self._end.settimeout(None)  # of an earlier answer
        try:
            self._end.sendall(_LENGTH.pack(len(data)) + data)
        except OSError as error:
            raise ChannelClosedError from error

    def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """The next message; a `TimeoutError` where it is not there, whole, in time."""
        deadline = None if seconds is None else time.monotonic() + seconds
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size, deadline))
        if length > _LONGEST:
            raise ChannelClosedError
        try:
            message = json.loads(self._exactly(length, deadline))
        except (ValueError, RecursionError):
            raise ChannelClosedError from None
        if not isinstance(message, dict):
            raise ChannelClosedError
        return message

    def close(self) -> None:
        self._end.close()

    def _exactly(self, count: int, deadline: float | None) -> bytes:
        received = bytearray()
        while len(received) < count:
            if deadline is not None:
                self._end.settimeout(max(deadline - time.monotonic(), 1e-6))
            try:
                part = self._end.recv(count - len(received))
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelClosedError from error
            if not part:
                raise ChannelClosedError
            received += part
        return bytes(received)
