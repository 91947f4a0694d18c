"""What a power loss leaves of a folder: a model of the cruellest file system that POSIX allows.

The content of a file survives as it was at its last fsync; a name (a new one, a renamed one, one that is gone) once the
folder that holds it was synced. The ledger counts as durable at each COMMIT: that is SQLite's own guarantee at
`synchronous=FULL`, and its writes do not go through Python.
"""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from xaipipe_store.ledger import Ledger, ledger_path

Entries = dict[str, int]
"""The names in a folder, each with the inode it stands for."""


@dataclass(frozen=True)
class Moment:
    """Everything there was when the power went: what had been synced, and what the processes saw."""

    synced: dict[int, bytes | Entries]
    seen: dict[int, bytes | Entries]
    root: int
    ledger: bytes | None

    def restore(self, folder: Path, output: str, chance: random.Random | None = None) -> Path:
        """Write down what survives. `chance` decides on what was not synced; without it, all of that is lost."""
        folder.mkdir()
        self._fill(folder, self.root, chance)
        if self.ledger is not None:
            ledger_path(folder / output).write_bytes(self.ledger)
        return folder / output

    def _fill(self, folder: Path, inode: int, chance: random.Random | None) -> None:
        for name, child in self._entries(inode, chance).items():
            path = folder / name
            if isinstance(self.seen[child], dict):
                path.mkdir()
                self._fill(path, child, chance)
            else:
                path.write_bytes(self._content(child, chance))

    def _entries(self, inode: int, chance: random.Random | None) -> Entries:
        """Each changed name is as it was or as it is: any subset of what was not synced may have survived."""
        synced, seen = self.synced.get(inode, {}), self.seen[inode]
        assert isinstance(synced, dict)
        assert isinstance(seen, dict)
        if chance is None:
            return synced
        kept = ((name, chance.choice((synced, seen)).get(name)) for name in sorted(synced | seen))
        return {name: child for name, child in kept if child is not None}

    def _content(self, inode: int, chance: random.Random | None) -> bytes:
        """What was synced; or what was written since, whole, torn, or with nothing but its length."""
        synced, seen = self.synced.get(inode, b""), self.seen[inode]
        assert isinstance(synced, bytes)
        assert isinstance(seen, bytes)
        if chance is None or synced == seen:
            return synced
        return chance.choice((synced, seen, seen[: chance.randrange(len(seen) + 1)], bytes(len(seen))))


class Recorder:
    """Watches what happens to a folder on its way to the disk; `moments` are what was there before chosen events."""

    def __init__(self, root: Path, output: str, patch: pytest.MonkeyPatch) -> None:
        self.events = 0
        self.moments: list[Moment] = []
        self.wanted: Callable[[int], bool] = lambda event: True
        self._root, self._ledger = root, ledger_path(root / output)
        self._lock = threading.RLock()
        self._synced: dict[int, bytes | Entries] = {}
        self._pins: dict[int, int] = {}
        for owner, name in (
            (os, "replace"),
            (os, "mkdir"),
            (os, "unlink"),
            (os, "rmdir"),
            (Ledger, "_run"),
            (Ledger, "_transaction"),
        ):
            self._wrap(patch, owner, name)
        self._wrap_fsync(patch)

    def close(self) -> None:
        for handle in self._pins.values():
            os.close(handle)

    def moment(self) -> Moment:
        """What there is now."""
        with self._lock:
            ledger = self._committed()  # first: what it says of shards has to be true of what is looked at later
            seen: dict[int, bytes | Entries] = {}
            self._see(self._root, seen)
            for inode, handle in self._pins.items():  # what is gone for the processes, but perhaps not on the disk
                if inode not in seen:
                    seen[inode] = {} if stat.S_ISDIR(os.fstat(handle).st_mode) else _content(handle)
            for inode, content in self._synced.items():
                if seen[inode] == content:
                    seen[inode] = content  # one copy of it, however many moments are kept
            return Moment(dict(self._synced), seen, self._root.stat().st_ino, ledger)

    def _wrap(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            self._event()
            if owner is Ledger:
                return original(*arguments, **named)
            with self._lock:  # so that nothing is renamed while somebody looks
                return original(*arguments, **named)

        patch.setattr(owner, name, watched)

    def _wrap_fsync(self, patch: pytest.MonkeyPatch) -> None:
        original = os.fsync

        def watched(handle: int) -> None:
            self._event()
            with self._lock:
                facts = os.fstat(handle)
                # looked at before the sync: what another thread adds meanwhile is not promised to survive
                now = (
                    self._listed(handle, f"/proc/self/fd/{handle}") if stat.S_ISDIR(facts.st_mode) else _content(handle)
                )
                original(handle)
                self._pin(facts.st_ino, f"/proc/self/fd/{handle}")
                self._synced[facts.st_ino] = now

        patch.setattr(os, "fsync", watched)

    def _event(self) -> None:
        with self._lock:
            self.events += 1
            if self.wanted(self.events - 1):
                self.moments.append(self.moment())

    def _see(self, folder: Path, seen: dict[int, bytes | Entries]) -> None:
        entries = seen[folder.stat().st_ino] = self._listed(folder, str(folder))
        for name, inode in entries.items():
            if (folder / name).is_dir():
                self._see(folder / name, seen)
            else:
                seen[inode] = (folder / name).read_bytes()

    def _listed(self, folder: int | Path, place: str) -> Entries:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.stat(follow_symlinks=False).st_ino for entry in entries}
        kept = {name: inode for name, inode in found.items() if not name.startswith(self._ledger.name)}
        for name, inode in kept.items():
            self._pin(inode, f"{place}/{name}")
        return kept

    def _pin(self, inode: int, path: str) -> None:
        """As long as it is open, its number is given to no other file."""
        if inode not in self._pins:
            self._pins[inode] = os.open(path, os.O_RDONLY)

    def _committed(self) -> bytes | None:
        if not self._ledger.is_file() or not self._ledger.stat().st_size:
            return None
        with closing(sqlite3.connect(self._ledger)) as live, closing(sqlite3.connect(":memory:")) as copy:
            live.backup(copy)
            return copy.serialize()


@contextmanager
def recording(root: Path, output: str) -> Iterator[Recorder]:
    """Watch what is written to an output in a folder that is empty as yet."""
    with pytest.MonkeyPatch.context() as patch:
        recorder = Recorder(root, output, patch)
        try:
            yield recorder
        finally:
            recorder.close()


def _content(handle: int) -> bytes:
    with open(f"/proc/self/fd/{handle}", "rb") as file:  # noqa: PTH123
        return file.read()
