"""Where the nuclei are and what they are: one candidate per grid cell, conflicts settled among neighbours."""

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xaipipe_demo.noise import Box, Floats, salted, spread, uniform
from xaipipe_demo.spacing import MARGIN, settle
from xaipipe_demo.tissue import EPITHELIUM, LUMEN, STEP, Land, Survey, grain_angle

CELL = 16
"""Side in pixels of a grid cell, which holds at most one nucleus."""

OUTREACH = (MARGIN + 4) * CELL
"""Pixels of survey that `place` needs around the window it is asked for."""


class Kind(IntEnum):
    """What a nucleus is; the last two are the damaged ones."""

    EPITHELIAL = 0
    FIBROBLAST = 1
    LYMPHOCYTE = 2
    PYKNOTIC = 3
    KARYORRHECTIC = 4


class _Form(NamedTuple):
    """Ranges from which one kind is drawn: long semi-axis, short one over long, density, extra room."""

    axis: tuple[float, float]
    ratio: tuple[float, float]
    density: tuple[float, float]
    chromatin: float
    membrane: float
    room: float


_FORMS = {
    Kind.EPITHELIAL: _Form((7.3, 10.5), (0.68, 0.95), (0.052, 0.115), 0.26, 0.45, 0.98),
    Kind.FIBROBLAST: _Form((8.5, 12.5), (0.26, 0.45), (0.075, 0.14), 0.16, 0.15, 1.25),
    Kind.LYMPHOCYTE: _Form((5.0, 6.4), (0.85, 1.0), (0.095, 0.15), 0.2, 0.12, 1.1),
    Kind.PYKNOTIC: _Form((4.8, 6.4), (0.8, 1.0), (0.088, 0.14), 0.03, 0.0, 1.75),
    Kind.KARYORRHECTIC: _Form((5.8, 7.4), (0.85, 1.0), (0.095, 0.15), 0.0, 0.0, 1.6),
}


@dataclass(frozen=True)
class Nuclei:
    """A table of nuclei, one entry of every column each, in order of `id`."""

    id: NDArray[np.int64]
    """Unique on the slide, never 0."""
    cy: NDArray[np.float64]
    cx: NDArray[np.float64]
    kind: NDArray[np.int64]
    radius: Floats
    """Long semi-axis in pixels."""
    ratio: Floats
    """Short semi-axis over the long one."""
    angle: Floats
    density: Floats

    @property
    def damaged(self) -> NDArray[np.bool_]:
        """Whether each nucleus is pyknotic or karyorrhectic."""
        return self.kind >= Kind.PYKNOTIC

    def __len__(self) -> int:
        return len(self.id)

    def select(self, keep: NDArray[np.bool_] | slice) -> "Nuclei":
        """The nuclei that a mask or slice keeps."""
        return Nuclei(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})

    def inside(self, box: Box) -> "Nuclei":
        """The nuclei whose centre lies in the window."""
        rows = (self.cy >= box.y) & (self.cy < box.y + box.h)
        return self.select(rows & (self.cx >= box.x) & (self.cx < box.x + box.w))

    def form(self, name: str) -> Floats:
        """A constant of each nucleus's kind: 'chromatin', 'membrane' or 'room'."""
        return np.array([getattr(_FORMS[k], name) for k in Kind], np.float32)[self.kind]


def place(land: Land, known: Survey, box: Box, damaged: float) -> Nuclei:
    """The nuclei whose centre lies in `box` (pixels); `known` must reach `OUTREACH` pixels further."""
    top, left = box.y // CELL, box.x // CELL
    bottom, right = -(-(box.y + box.h) // CELL), -(-(box.x + box.w) // CELL)
    cells = Box(top, left, bottom - top, right - left).grown(MARGIN)
    candidates, present = _candidates(land, known, cells, damaged)
    shape = (cells.h, cells.w)
    rank = uniform(salted(land.seed, 39), cells.rows(), cells.columns())
    room = candidates.radius * np.sqrt(candidates.ratio) * candidates.form("room")
    points = np.stack([candidates.cy, candidates.cx, room]).astype(np.float64).reshape(3, *shape)
    kept = settle(points, rank, present.reshape(shape))
    return candidates.select(kept.ravel()).inside(box)


def _candidates(land: Land, known: Survey, cells: Box, damaged: float) -> tuple[Nuclei, NDArray[np.bool_]]:
    """One candidate for every cell, and whether the tissue there has one at all."""

    def draw(salt: int) -> Floats:
        return uniform(salted(land.seed, salt), cells.rows(), cells.columns()).ravel()

    rows = np.broadcast_to(cells.rows(), (cells.h, cells.w)).ravel()
    columns = np.broadcast_to(cells.columns(), (cells.h, cells.w)).ravel()
    cy, cx = (rows + draw(30).astype(float)) * CELL, (columns + draw(31).astype(float)) * CELL
    kind, chance = _kinds(known, cy, cx, draw(32), draw(33), damaged)
    inside = (cy >= 0) & (cx >= 0) & (cy < land.height) & (cx < land.width)
    nuclei = Nuclei(
        id=rows * (-(-land.width // CELL)) + columns + 1,
        cy=cy,
        cx=cx,
        kind=kind,
        radius=_within(kind, "axis", draw(34)),
        ratio=_within(kind, "ratio", draw(35)),
        angle=_angles(land, known, cy, cx, kind, draw(36)),
        density=_within(kind, "density", draw(37)),
    )
    return nuclei, inside & (draw(38) < chance)


def _within(kind: NDArray[np.int64], name: str, unit: Floats) -> Floats:
    """Draw a property from the range that the nucleus's kind has for it."""
    low, high = np.array([getattr(_FORMS[k], name) for k in Kind], np.float32).T
    drawn: Floats = low[kind] + (high - low)[kind] * unit
    return drawn


def _kinds(
    known: Survey, cy: NDArray[np.float64], cx: NDArray[np.float64], u: Floats, v: Floats, damaged: float
) -> tuple[NDArray[np.int64], Floats]:
    """What each candidate would be, and the chance that there is one."""
    gland, tissue = known.at("gland", cy, cx), known.at("tissue", cy, cx)
    epithelium = gland > EPITHELIUM
    inflamed = np.clip(known.at("inflamed", cy, cx) - 0.6, 0, 1)
    lymphocyte = u < np.where(epithelium, 0.03, 0.12 + inflamed)
    kind = np.where(lymphocyte, Kind.LYMPHOCYTE, np.where(epithelium, Kind.EPITHELIAL, Kind.FIBROBLAST))
    cluster = np.clip((known.at("damage", cy, cx) - 0.9) / 0.6, 0, 1)
    hit = v < damaged * np.where(epithelium, 1.0, 0.5) * (0.6 + 16 * cluster)
    broken = np.where(u * 16 % 1 < 0.65, Kind.PYKNOTIC, Kind.KARYORRHECTIC)
    kind = np.where(hit, broken, kind)
    chance = np.where(epithelium, 0.92, 0.3 + 0.6 * inflamed)
    chance = np.where((tissue > 0.03) & (gland < LUMEN - 0.07), chance, 0)
    return kind.astype(np.int64), chance.astype(np.float32)


def _angles(
    land: Land,
    known: Survey,
    cy: NDArray[np.float64],
    cx: NDArray[np.float64],
    kind: NDArray[np.int64],
    unit: Floats,
) -> Floats:
    """Fibroblasts lie along the fibres, give or take; the others anyhow."""
    slope_y = (known.at("across", cy + STEP, cx) - known.at("across", cy - STEP, cx)) / (2 * STEP)
    slope_x = (known.at("across", cy, cx + STEP) - known.at("across", cy, cx - STEP)) / (2 * STEP)
    theta = grain_angle(land.seed)
    course = np.arctan2(-(slope_x - np.sin(theta)), slope_y + np.cos(theta))
    loose = np.where(kind == Kind.FIBROBLAST, course + spread(unit, -0.3, 0.3), spread(unit, 0, np.pi))
    return loose.astype(np.float32)
