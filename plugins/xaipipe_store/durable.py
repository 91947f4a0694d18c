"""Writing so that what was written survives a dead machine."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zarr.core.buffer import Buffer as ZarrBuffer
from zarr.storage import LocalStore

from xaipipe.outputs import sync

_MAKING_FOLDERS = threading.Lock()


@dataclass(frozen=True, slots=True)
class Written:
    """What went to disk: its size and its hash, taken from memory and not read back."""

    bytes: int
    sha256: str


def write_durably(path: Path, data: Any) -> Written:
    """A file whole or not at all: beside it, synced, renamed, and its folder synced.

    The name beside it is always the same, so that what a killed run left is written over by the next.
    """
    view = memoryview(data).cast("B")
    _make_folders(path.parent)
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("wb") as file:
        file.write(view)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync(path.parent)
    return Written(view.nbytes, hashlib.sha256(view).hexdigest())


def sync_folders(top: Path) -> None:
    """All entries of a folder and of those in it: a killed run made names that it may not have synced."""
    for folder in (top.absolute().parent, top, *(path for path in top.rglob("*") if path.is_dir())):
        sync(folder)


class DurableStore(LocalStore):
    """Zarr's folder on disk, every write durable. `written` says what the last write of a key was."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self.written: dict[str, Written] = {}

    async def set(self, key: str, value: ZarrBuffer) -> None:
        self._check_writable()
        path = Path(self.root) / key
        self.written[key] = await asyncio.to_thread(write_durably, path, value.as_buffer_like())

    async def set_if_not_exists(self, key: str, value: ZarrBuffer) -> None:
        if not await self.exists(key):
            await self.set(key, value)


def _make_folders(folder: Path) -> None:
    """With all above it, each synced into its parent before another thread finds it there and relies on it."""
    with _MAKING_FOLDERS:
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            sync(new.parent)
