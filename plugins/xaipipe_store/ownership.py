"""Whose an output is, and whether it can be written."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xaipipe import StorageError, UsageError
from xaipipe.outputs import check_replaceable
from xaipipe_store.ledger import ledger_path

_OUR_ENTRIES = {"zarr.json", ".zarr.json.partial", "OME", "image", "raw", "heatmap", "heatmap_display"}
_OUR_ENTRIES |= {"standard_error"}
_OUR_ENTRIES |= {"instances.csv", ".instances.csv.partial", "unreadable.csv", ".unreadable.csv.partial"}
_OUR_ENTRIES |= {"COMPLETE", ".COMPLETE.partial"}
_SQLITE = b"SQLite format 3\0"


def check_claim(output: Path, overwrite: bool, resume: bool) -> None:
    """Refuse what is not ours or cannot be written; nothing is changed."""
    parent = output.absolute().parent
    with storage_errors(output):
        _check_ledger(ledger_path(output), resume)
        if output.exists() and not resume:
            hint = "add --overwrite to replace it, or go on with it: xaipipe resume"
            check_replaceable(output, is_ours(output), overwrite, hint)
        if not parent.exists():
            raise StorageError("the folder of the output does not exist", where=parent, hint=f"mkdir -p {parent}")
        if not parent.is_dir():
            raise StorageError("the folder of the output is not a folder", where=parent)
        with tempfile.TemporaryFile(dir=parent) as probe:
            probe.write(b"x")


def is_ours(output: Path) -> bool:
    """A folder that xaipipe made, by the mark in its Zarr root or by its ledger, and that holds nothing else."""
    try:
        ours = ledger_path(output).is_file() or _marked(output)
        return ours and {entry.name for entry in output.iterdir()} <= _OUR_ENTRIES
    except OSError:
        return False


@contextmanager
def storage_errors(output: Path) -> Iterator[None]:
    """An operating system's refusal, in our words."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError("the output cannot be written", got=reason, where=error.filename or output) from error


def _marked(output: Path) -> bool:
    try:
        return "xaipipe" in json.loads((output / "zarr.json").read_text())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_ledger(path: Path, resume: bool) -> None:
    if resume and not path.is_file():
        raise UsageError("there is no run to go on with", got="no ledger beside the output", expected=path)
    if path.exists() and path.stat().st_size and not (path.is_file() and _begins(path, _SQLITE)):
        raise UsageError("somebody else's file stands where the ledger goes", where=path, hint="choose another output")


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
