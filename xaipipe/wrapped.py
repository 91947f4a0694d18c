"""A slide seen through something: another resolution, other colours."""

from __future__ import annotations

from typing import Any

import numpy as np

from xaipipe.types import Slide


class WrappedSlide(Slide):
    """Everything is the inner slide's; subclasses override what they change."""

    def __init__(self, inner: Slide, *notes: str) -> None:
        self.inner = inner
        self.levels = inner.levels
        self.mpp = inner.mpp
        self.notes = (*inner.notes, *notes)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def location(self) -> str | None:
        return self.inner.location

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @property
    def profile(self) -> bytes | None:
        return self.inner.profile

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray[Any, Any]:
        return self.inner.read(level, y, x, h, w)

    def interrupt(self) -> None:
        self.inner.interrupt()

    def close(self) -> None:
        self.inner.close()


class Lent(WrappedSlide):
    """A slide that somebody else opened, will close, and alone can make again."""

    @property
    def location(self) -> str | None:
        return None

    def __str__(self) -> str:
        return str(self.inner)

    def close(self) -> None:
        """Left to its owner."""
