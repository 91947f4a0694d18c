"""An array as a slide."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np

from xaipipe.errors import InputError
from xaipipe.types import Level, Slide

_ROWS = 1024


class ArraySlide(Slide):
    """uint8[H, W, 3] of RGB, in memory or mapped from a file; it must not change while it is explained.

    >>> Pipeline.from_toml("run.toml").run(pixels, "out.zarr")
    >>> Pipeline.from_toml("run.toml").run(ArraySlide(pixels, "biopsy", mpp=0.25), "out.zarr")
    """

    def __init__(self, pixels: np.ndarray[Any, Any], name: str = "array", mpp: float | None = None) -> None:
        self._pixels, self._name = pixels, name
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise InputError(
                "the array is not a picture",
                got=f"{pixels.dtype} {pixels.shape}",
                expected="uint8 (height, width, 3)",
                where=self,
            )
        self.levels = (Level(pixels.shape[0], pixels.shape[1], 1.0),)
        self.mpp = mpp

    @property
    def name(self) -> str:
        return self._name

    @property
    def location(self) -> str | None:
        return None

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray[Any, Any]:
        return np.array(self._pixels[y : y + h, x : x + w], order="C")

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(str(self._pixels.shape).encode())
        for start in range(0, len(self._pixels), _ROWS):
            digest.update(self._pixels[start : start + _ROWS].tobytes())
        return digest.hexdigest()
