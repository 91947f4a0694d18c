"""Whose an output is, and whether it can be written."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xaipipe import StorageError, UsageError

_OUR_ENTRIES = {"zarr.json", "OME", "image", "raw", "heatmap", "instances.csv"}


def check_claim(output: Path, overwrite: bool) -> None:
    """Refuse what is not ours or cannot be written; nothing is changed."""
    parent = output.absolute().parent
    with storage_errors(output):
        _check_replaceable(output, overwrite)
        if not parent.exists():
            raise StorageError("the folder of the output does not exist", where=parent, hint=f"mkdir -p {parent}")
        if not parent.is_dir():
            raise StorageError("the folder of the output is not a folder", where=parent)
        with tempfile.TemporaryFile(dir=parent) as probe:
            probe.write(b"x")


def _check_replaceable(output: Path, overwrite: bool) -> None:
    if output.exists():
        if not is_ours(output):
            raise UsageError(
                "the output exists and was not made by xaipipe",
                where=output,
                hint="choose another name; it was left as it is",
            )
        if not overwrite:
            raise UsageError(
                "the output exists already",
                where=output,
                hint="add --overwrite to replace it, or choose another name",
            )


def is_ours(output: Path) -> bool:
    """A folder whose Zarr root says that xaipipe made it, and that holds nothing else."""
    try:
        made_by_us = "xaipipe" in json.loads((output / "zarr.json").read_text())["attributes"]
        return made_by_us and {entry.name for entry in output.iterdir()} <= _OUR_ENTRIES
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def storage_errors(output: Path) -> Iterator[None]:
    """An operating system's refusal, in our words."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError("the output cannot be written", got=reason, where=error.filename or output) from error
