"""Arrays that numpy saved, mapped into memory and not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xaipipe import ArraySlide, InputError
from xaipipe.errors import brief
from xaipipe_readers.files import file_fingerprint, first_bytes

_MAGIC = b"\x93NUMPY"


class NpySlide(ArraySlide):
    """A mapped `.npy` file."""

    def __init__(self, path: Path, pixels: np.ndarray) -> None:
        self.path = path
        super().__init__(pixels, path.name)

    @property
    def location(self) -> str:
        return str(self.path.absolute())

    @property
    def fingerprint(self) -> str:
        return file_fingerprint(self.path)


def open_npy(path: Path) -> NpySlide | None:
    """The slide, or None where the file is no array."""
    if first_bytes(path, len(_MAGIC)) != _MAGIC:
        return None
    try:
        return NpySlide(path, np.load(path, mmap_mode="r", allow_pickle=False))
    except InputError:
        raise
    except Exception as error:
        hint = "the file is damaged or cut short"
        raise InputError("the array cannot be read", got=brief(error), where=path, hint=hint) from None
