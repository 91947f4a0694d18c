"""Doubts: a method says of which images its map does not hold what it promises.

Each is an `ExplanationWarning` at once, unless somebody listens: a run does, and says every kind of doubt once for the
whole slide.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial

from xaipipe.errors import ExplanationWarning
from xaipipe.types import Batch, Tile


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    """Of some images of a batch, why their maps are not to be relied on."""

    kind: str
    """What is doubtful, in a few words: the same for all batches."""
    tiles: tuple[Tile, ...]
    """Where the batch's images lie on a slide; empty for plain tensors."""
    excess: tuple[float, ...]
    """Of each image, by how much it is beyond what the method puts up with; 0 or less: it is within."""
    text: Callable[[int], str]
    """What to say of one of the images, and what to do."""
    targets: tuple[int | str, ...] | None = None
    """Of each image, what the doubtful map explains; None where nobody said, and every target's may be."""

    @property
    def images(self) -> list[int]:
        """Those that are doubtful, the worst first."""
        beyond = [image for image, excess in enumerate(self.excess) if excess > 0]
        return sorted(beyond, key=lambda image: -self.excess[image])


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What was said while somebody listened."""

    doubts: list[Doubt] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


_LISTENING: ContextVar[Heard | None] = ContextVar("listening", default=None)


@contextmanager
def listening() -> Iterator[Heard]:
    """What is doubted meanwhile, by this thread, is heard and not warned of."""
    heard = Heard()
    token = _LISTENING.set(heard)
    try:
        yield heard
    finally:
        _LISTENING.reset(token)


def doubt(
    kind: str,
    batch: Batch,
    excess: Sequence[float],
    text: Callable[[int], str],
    targets: tuple[int | str, ...] | None = None,
) -> None:
    """Doubt the maps of the images with an excess above 0; nothing where there is none. NaN is beyond any bound.

    `targets` are the explanation's: where several are explained at once, the others' maps are not doubted.
    """
    known = tuple(sys.float_info.max if math.isnan(one) else one for one in excess)
    found = Doubt(kind, batch.tiles, known, text, targets)
    if not (images := found.images):
        return
    heard = _LISTENING.get()
    if heard is not None:
        heard.doubts.append(found)
        return
    others = f" (and {len(images) - 1} more images)" if len(images) > 1 else ""
    warnings.warn(text(images[0]) + others, ExplanationWarning, stacklevel=3)


def remark(text: str) -> None:
    """Say something about the work that is not about a map."""
    heard = _LISTENING.get()
    if heard is not None:
        heard.remarks.append(text)
        return
    warnings.warn(text, ExplanationWarning, stacklevel=3)


class OfCopies:
    """What is doubted of copies of a batch's images: every kind is said once, by the worst copy of each image.

    Where `several` targets are explained, it is said once of each that is doubted.
    """

    def __init__(self, batch: Batch, several: bool) -> None:
        self._batch, self._several = batch, several
        self._worst: dict[tuple[str, int | str | None], dict[int, tuple[float, Doubt, int]]] = {}
        self._remarks: dict[str, None] = {}

    @contextmanager
    def made_of(self, images: Sequence[int]) -> Iterator[None]:
        """Inside, the copies of these images are explained."""
        with listening() as heard:
            yield
        self._remarks.update(dict.fromkeys(heard.remarks))
        for found in heard.doubts:
            for copy, (image, excess) in enumerate(zip(images, found.excess, strict=True)):
                target = found.targets[copy] if self._several and found.targets is not None else None
                worst = self._worst.setdefault((found.kind, target), {})
                if image not in worst or excess > worst[image][0]:
                    worst[image] = excess, found, copy

    def say(self) -> None:
        """Doubt the images that the copies were made of."""
        for text in self._remarks:
            remark(text)
        count = len(self._batch.pixels)
        for (kind, target), worst in self._worst.items():
            excess = [worst[image][0] if image in worst else 0.0 for image in range(count)]
            doubt(kind, self._batch, excess, partial(self._text, worst), None if target is None else (target,) * count)

    def _text(self, worst: Mapping[int, tuple[float, Doubt, int]], image: int) -> str:
        _, found, copy = worst[image]
        return f"of a noisy copy of {named(self._batch, image)}: {found.text(copy)}"


def named(batch: Batch, image: int) -> str:
    """What people call an image of a batch."""
    return str(batch.tiles[image]) if batch.tiles else f"image {image}"
