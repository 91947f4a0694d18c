"""What may be written over, and what makes it survive a power loss."""

from __future__ import annotations

import os
from pathlib import Path

from xaipipe.errors import UsageError


def check_replaceable(output: Path, ours: bool, overwrite: bool, hint: str) -> None:
    """Refuse an output that exists: always where it is not ours, else unless it may be overwritten."""
    if not ours:
        raise UsageError(
            "the output exists and was not made by xaipipe",
            where=output,
            hint="choose another name; it was left as it is",
        )
    if not overwrite:
        raise UsageError("the output exists already", where=output, hint=hint)


def sync(path: Path) -> None:
    """Make a file's content survive a power loss, or a folder's entries: new names, renames."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_all(path: Path) -> None:
    """A file, or a folder with everything in it."""
    for inner in path.rglob("*"):
        sync(inner)
    sync(path)
