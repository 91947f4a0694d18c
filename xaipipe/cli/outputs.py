"""Single files that a command writes: checked before the work, marked as ours, and replaced whole or not at all."""

from __future__ import annotations

import io
import os
import tempfile
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from xaipipe.display import Picture
from xaipipe.errors import StorageError, UsageError
from xaipipe.outputs import check_replaceable, sync

_MARK = b"Software\0xaipipe"
_AFTER_PNG_HEADER = 33


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse what is not ours or cannot be written; nothing is changed."""
    if output.suffix not in (".png", ".npz"):
        raise UsageError("unknown kind of output", got=output.name, expected="FILE.png or FILE.npz")
    parent = output.absolute().parent
    try:
        if output.exists():
            hint = "add --overwrite, or choose another name"
            check_replaceable(output, _is_ours(output), overwrite, hint)
        if not parent.is_dir():
            problem = "is not a folder" if parent.exists() else "does not exist"
            raise StorageError(f"the folder of the output {problem}", where=parent)
        with tempfile.TemporaryFile(dir=parent) as probe:
            probe.write(b"x")
    except OSError as error:
        raise StorageError("the output cannot be written", got=error.strerror or error, where=output) from None


def save(output: Path, data: bytes) -> None:
    """Write a file whole: what stood there before stays until the new one is complete."""
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        try:
            beside.write_bytes(data)
            sync(beside)
            beside.replace(output)
            sync(output.absolute().parent)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError("the output cannot be written", got=error.strerror or error, where=output) from None


def png_bytes(rgb: np.ndarray[Any, Any]) -> bytes:
    """A PNG with the mark that xaipipe made it."""
    png = Picture(rgb)._repr_png_()
    body = b"tEXt" + _MARK
    chunk = (len(_MARK)).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return png[:_AFTER_PNG_HEADER] + chunk + png[_AFTER_PNG_HEADER:]


def npz_bytes(**arrays: Any) -> bytes:
    """Arrays for `numpy.load`; `xaipipe` among them is the version that made them."""
    buffer = io.BytesIO()
    np.savez(buffer, xaipipe=np.array(version("xaipipe")), **arrays)
    return buffer.getvalue()


def _is_ours(output: Path) -> bool:
    if not output.is_file():
        return False
    with output.open("rb") as file:
        if _MARK in file.read(2 * _AFTER_PNG_HEADER):
            return True
    try:
        with ZipFile(output) as archive:
            return "xaipipe.npy" in archive.namelist()
    except BadZipFile:
        return False
