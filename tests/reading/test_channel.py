"""Messages arrive whole or not at all, and nonsense is not believed."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from xaipipe.reading.channel import Channel, ChannelClosedError
from xaipipe.reading.shared import SharedMemory

Ends = tuple[Channel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


def framed(body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + body


def test_messages_arrive_in_order_even_in_pieces(ends: Ends) -> None:
    channel, other = ends
    data = framed(b'{"a": 1}') + framed(b'{"b": "\xc3\xa9"}')

    def drip() -> None:
        for place in range(0, len(data), 3):
            other.sendall(data[place : place + 3])

    sender = threading.Thread(target=drip)
    sender.start()
    assert [channel.receive(5), channel.receive(5)] == [{"a": 1}, {"b": "é"}]
    sender.join()


@pytest.mark.parametrize(
    "data",
    [framed(b"not json"), framed(b"[1, 2]"), framed(b"\xff\xfe"), b"\xff\xff\xff\xff", framed(b"[" * 100_000), b"\0\0"],
)
def test_nonsense_closes_the_channel(ends: Ends, data: bytes) -> None:
    channel, other = ends
    other.sendall(data)
    other.shutdown(socket.SHUT_WR)
    with pytest.raises(ChannelClosedError):
        channel.receive(5)


def test_half_a_message_is_waited_for_only_so_long(ends: Ends) -> None:
    channel, other = ends
    other.sendall(framed(b'{"a": 1}')[:-3])
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        channel.receive(0.2)
    assert time.monotonic() - started < 2


def test_a_closed_end_is_noticed_when_sending(ends: Ends) -> None:
    channel, other = ends
    other.close()
    with pytest.raises(ChannelClosedError):
        channel.send({"a": 1})


def test_shared_memory_grows_and_cannot_be_cut_short() -> None:
    asking = SharedMemory.create()
    answering = SharedMemory(asking.handle)
    for h, w in ((2, 3), (40, 50), (1, 1)):
        asking.reserve(h * w * 3)
        answering.pixels(h, w)[:] = h
        np.testing.assert_array_equal(asking.pixels(h, w), np.full((h, w, 3), h))
    with pytest.raises(PermissionError):
        os.ftruncate(answering.handle, 10)
    asking.close()
