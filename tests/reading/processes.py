"""What reading leaves behind: nothing."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

SHARED = Path("/dev/shm")


def children(parent: int | None = None) -> set[int]:
    """The processes that this one, or another, started and that are alive."""
    parent = parent or os.getpid()
    found: set[int] = set()
    for task in Path(f"/proc/{parent}/task").iterdir():
        with suppress(FileNotFoundError):  # the thread ended just now
            found.update(map(int, (task / "children").read_text().split()))
    return found


def readers(parent: int | None = None) -> set[int]:
    return {child for child in children(parent) if b"xaipipe.reading.worker" in command(child)}


def command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(process: int) -> bool:
    """Whether it runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def gone(processes: set[int], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def shared_memory() -> set[str]:
    return {entry.name for entry in SHARED.iterdir()} if SHARED.is_dir() else set()
