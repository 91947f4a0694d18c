"""What may be written over, and what makes it survive a power loss."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xaipipe.errors import StorageError, UsageError


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


@contextmanager
def folder_of_results(path: Path) -> Iterator[None]:
    """A folder for several results, made where there is none, and taken away again where nothing was put into it."""
    if (path / "zarr.json").exists() or (path.exists() and not path.is_dir()):
        raise UsageError(
            "several targets want a folder for their results, and something else is there",
            where=path,
            hint="choose another name; it was left as it is",
        )
    made = not path.exists()
    try:
        path.mkdir(exist_ok=True)
        sync(path.absolute().parent)
    except OSError as error:
        raise StorageError("the folder of the results cannot be made", got=error.strerror, where=path) from None
    try:
        yield
    finally:
        if made:
            with suppress(OSError):  # something is in it
                path.rmdir()


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
