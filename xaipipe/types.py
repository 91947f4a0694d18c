"""What flows between stages, in the order in which data meets it.

Slide → Region → Tile → Batch → Explanation → Segmentation → Receipt. All frozen: a stage returns something
new and never changes what it was given. Coordinates are (y, x), in pixels whose centres are integers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from xaipipe.asked import Asked
    from xaipipe.display import Picture


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a slide: its size in pixels, and how many level-0 pixels one of its pixels spans."""

    height: int
    width: int
    downsample: float


class Slide(ABC):
    """A reader's handle on an image of any size. Readers subclass it; pixels are RGB uint8.

    `read` is called from several threads at once, with boxes that lie inside the level.
    """

    path: Path
    """The file or folder. A reader of something else overrides `name` and `location` instead."""
    levels: tuple[Level, ...]
    mpp: float | None
    """Micrometres per level-0 pixel; None where the file does not say."""
    notes: tuple[str, ...] = ()
    """What a person has to know about how it is read; the plan and the manifest say it."""

    @property
    def name(self) -> str:
        """What people call it: the file's name."""
        return self.path.name

    @property
    def location(self) -> str | None:
        """What opens it again, an absolute path or a URL; None where nothing does."""
        return str(self.path.absolute())

    @property
    def profile(self) -> bytes | None:
        """The embedded ICC profile, as the file holds it."""
        return None

    @property
    def original(self) -> Slide:
        """The slide without a level that was made for one run only."""
        return self

    def __str__(self) -> str:
        return self.location or self.name

    @abstractmethod
    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray[Any, Any]:
        """The pixels of a box of a level, as uint8[h, w, 3]."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when the file's content changes; cheap (size, time, header), not a hash of gigabytes."""

    def close(self) -> None:  # noqa: B027 - most readers hold nothing that needs closing
        """Release what the reader holds."""

    def interrupt(self) -> None:  # noqa: B027 - most reads cannot be given up
        """Give up the reads that are under way, where that can be done: the run ends early."""

    @property
    def pyramidal(self) -> bool:
        """Whether this is a slide rather than a photograph: it has more than one level, or a physical size."""
        return len(self.levels) > 1 or self.mpp is not None


@dataclass(frozen=True, slots=True)
class Region:
    """A block of the output that one worker owns: the unit of work, of commit, of retry."""

    row: int
    column: int
    y: int
    x: int
    h: int
    w: int

    def __str__(self) -> str:
        return f"region ({self.row}, {self.column}) at y={self.y} x={self.x} h={self.h} w={self.w}"


@dataclass(frozen=True, slots=True)
class Tile:
    """A box of a slide's level, and the margin read around it as context and then cropped away."""

    slide: Slide
    level: int
    y: int
    x: int
    h: int
    w: int
    halo: int = 0

    def __str__(self) -> str:
        return f"{self.slide.name} level {self.level} y={self.y} x={self.x} h={self.h} w={self.w} halo={self.halo}"

    @property
    def outer(self) -> tuple[int, int, int, int]:
        """(y, x, h, w) with the halo; may reach beyond the slide."""
        return (self.y - self.halo, self.x - self.halo, self.h + 2 * self.halo, self.w + 2 * self.halo)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Tiles as the model wants them."""

    tiles: tuple[Tile, ...]
    pixels: Tensor
    """[N, C, H, W], preprocessed, on the run's device."""
    valid: Tensor
    """bool[N, H, W]: False where a tile reaches beyond the slide."""
    asked: Asked | None = field(default=None, repr=False)
    """Which question this is, where a run asks several of the same pixels; None where it asks one."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where a map's cells lie: the centre of cell i is at offset + i·scale, in input coordinates."""

    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def centres(self, axis: int, n: int) -> np.ndarray[Any, Any]:
        """The input coordinates of the first n cells along an axis (0: y, 1: x)."""
        return self.offset[axis] + self.scale[axis] * np.arange(n, dtype=np.float64)

    def cells_within(self, axis: int, start: float, stop: float, n: int) -> slice:
        """Which of n cells have their centre in the pixel box [start - ½, stop - ½)."""
        first = math.ceil((start - 0.5 - self.offset[axis]) / self.scale[axis] - 1e-9)
        last = math.ceil((stop - 0.5 - self.offset[axis]) / self.scale[axis] - 1e-9)
        return slice(min(max(first, 0), n), min(max(last, 0), n))


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Maps as the method made them: raw, signed, unnormalised, at their own resolution."""

    values: Tensor
    """[N, C, h, w]"""
    grid: Grid
    targets: tuple[int | str, ...]
    """What was explained, one an image: a class index, or a name."""
    scores: Tensor
    """[N]: the model's output for each target."""
    input_size: tuple[int, int]
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    valid: Tensor | None = None
    """bool[N, h, w], or None where every cell holds a value; cells that are False hold 0."""
    tiles: tuple[Tile, ...] = ()
    """Where each map lies on a slide; empty for plain tensors."""
    standard_error: Tensor | None = None
    """[N, C, h, w], of the values where these are the mean of a sample; None where nothing was sampled."""

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def replace(self, **changes: Any) -> Explanation:
        """The same with something changed. Other values lose the standard error, unless they bring their own."""
        if "values" in changes:
            changes.setdefault("standard_error", None)
        return replace(self, **changes)

    def to_input(self, size: tuple[int, int] | None = None) -> Tensor:
        """The maps at input resolution [N, C, H, W], bilinear, every cell where the grid says it lies."""
        from xaipipe.resample import to_pixels

        return to_pixels(self.values, self.grid, size or self.input_size)

    def plot(self, x: Tensor | None = None, image: int = 0) -> Picture:
        """A picture of one map, over the input x where it is given."""
        from xaipipe.display import explanation_picture

        return explanation_picture(self, x, image)

    def _repr_html_(self) -> str:
        from xaipipe.display import explanation_html

        return explanation_html(self)


@dataclass(frozen=True, slots=True)
class Instance:
    """One labelled object: its box in pixels of the labels, its size, and the evidence inside it."""

    label: int
    y: int
    x: int
    h: int
    w: int
    area: int
    centre_y: float
    centre_x: float
    peak: float
    mean: float


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Labels grown from a map; 0 is background."""

    labels: Tensor
    """integer [N, h, w], on the pixels of the explained image"""
    classes: tuple[str, ...]
    """Names of the label values 1, 2, …; empty when the labels are instances."""
    explanation: Explanation
    instances: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class LabelImage:
    """What every part of a slide is, at a resolution of its own: kept beside the map."""

    name: str
    labels: np.ndarray[Any, Any]
    """uint8 [h, w], over the whole slide"""
    classes: tuple[str, ...]
    """Names of the values 0, 1, 2, …"""
    grid: Grid
    """Where the labels lie, in pixels of level 0."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a store says it wrote for one region of one array."""

    array: str
    region: Region
    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part of a slide that a run had to leave out: a tile's core, or a piece of a copied image."""

    array: str
    region: Region
    level: int
    y: int
    x: int
    h: int
    w: int
    reason: str
