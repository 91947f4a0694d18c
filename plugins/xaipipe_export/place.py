"""Where an export goes: refused where it is not ours, written beside, and there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xaipipe import StorageError, UsageError
from xaipipe.cli.outputs import check_output
from xaipipe.outputs import check_replaceable, sync, sync_all
from xaipipe_export.exporter import Exporter

MARK = "export.json"
"""In every folder that was exported: by what, and what lies in it."""


@contextmanager
def exported_to(output: Path, exporter: type[Exporter], overwrite: bool) -> Iterator[Path]:
    """The place to write to. It becomes the output when the block ends well, and is gone where it does not."""
    _check(output, exporter, overwrite)
    beside = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        if exporter.suffix is None:
            beside.mkdir()
        yield beside
        if beside.is_dir():
            mark = {"made_by": "xaipipe export", "target": exporter.name, "entries": sorted(_entries(beside))}
            (beside / MARK).write_text(json.dumps(mark, indent=1))
        _replace(output, beside)
    finally:
        _remove(beside)


def _check(output: Path, exporter: type[Exporter], overwrite: bool) -> None:
    if exporter.suffix is not None:
        if output.suffix != exporter.suffix:
            raise UsageError("unknown kind of output", got=output.name, expected=f"FILE{exporter.suffix}")
        check_output(output, overwrite)
        return
    parent = output.absolute().parent
    if not parent.is_dir():
        raise StorageError("the folder of the output does not exist", where=parent)
    if output.exists():
        check_replaceable(output, _is_ours(output), overwrite, "add --overwrite, or choose another name")


def _is_ours(output: Path) -> bool:
    """A folder with our mark that holds nothing but what we put there."""
    try:
        mark = json.loads((output / MARK).read_text())
        return mark["made_by"] == "xaipipe export" and _entries(output) <= {MARK, *mark["entries"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _entries(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def _replace(output: Path, beside: Path) -> None:
    """What stood there goes only when the new one is complete."""
    old = output.with_name(f".{output.name}.{os.getpid()}.old")
    sync_all(beside)
    if output.is_dir():  # which cannot be replaced in one step, as a file can
        output.replace(old)
    try:
        beside.replace(output)
    except OSError:
        if old.exists():
            old.replace(output)
        raise
    sync(output.absolute().parent)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
