"""The patches of a label image, a strip of rows at a time: where their upper and lower edges run.

A patch is what is connected over edges and carries one label. Only its horizontal edges are kept; the vertical ones
follow from them. What is held at any time belongs to one strip or to patches that are still open below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

Rows = Callable[[int, int], np.ndarray]
"""Reads rows `top … top + h` of the labels, whole."""


@dataclass(frozen=True)
class Edges:
    """Horizontal edges, as long as they go: of which patch, at which row of corners, from where to where.

    `direction` is 1 where the patch lies below (it is walked to the right), -1 where it lies above.
    """

    patch: np.ndarray
    y: np.ndarray
    left: np.ndarray
    right: np.ndarray
    direction: np.ndarray

    @classmethod
    def none(cls) -> Edges:
        return cls(*(np.zeros(0, np.int64) for _ in range(5)))

    @classmethod
    def joined(cls, parts: list[Edges]) -> Edges:
        names = ("patch", "y", "left", "right", "direction")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def where(self, chosen: np.ndarray, patch: np.ndarray) -> Edges:
        return Edges(patch[chosen], self.y[chosen], self.left[chosen], self.right[chosen], self.direction[chosen])


@dataclass(frozen=True)
class Closed:
    """Patches that end above row `seen`: the label of each, and their edges (`patch` counts from 0)."""

    seen: int
    labels: np.ndarray
    edges: Edges


def closed_patches(read: Rows, height: int, width: int, rows: int) -> Iterator[Closed]:
    """All patches, strip by strip, each when its last row was seen. Labels are below 2³²."""
    strip = _Open(np.zeros(0, np.int64), Edges.none(), np.zeros(width, np.uint32), np.zeros(width, np.int32))
    for top in range(0, height, rows):
        values = read(top, min(rows, height - top)).astype(np.uint32, copy=False)
        if top + rows >= height:
            values = np.concatenate([values, np.zeros((1, width), np.uint32)])  # closes what reaches the end
        if values.any() or strip.row.any():
            closed, strip = _next_strip(strip, values, top)
            yield closed


@dataclass(frozen=True)
class _Open:
    """What a strip hands to the next: open patches with their edges so far, and its last row."""

    labels: np.ndarray
    edges: Edges
    row: np.ndarray
    patches: np.ndarray
    """Of the last row's pixels: the open patch, counted from 1."""


def _next_strip(before: _Open, values: np.ndarray, top: int) -> tuple[Closed, _Open]:
    known = len(before.labels)
    ids = label(values, connectivity=1).astype(np.int32, copy=False)
    found = np.zeros(ids.max() + 1, np.int64)
    found[ids] = values
    ids[ids > 0] += known
    labels = np.concatenate([before.labels, found[1:]])
    group = _groups(before, values[0], ids[0], len(labels))
    edges = Edges.joined([before.edges, _edges(before, values, ids, top)])
    groups = group[edges.patch - 1]
    of_group = np.zeros(group.max(initial=-1) + 1, np.int64)
    of_group[group] = labels
    stays = np.zeros(len(of_group), bool)
    last = ids[-1]
    stays[group[last[last > 0] - 1]] = True
    renamed = np.where(stays, np.cumsum(stays), np.cumsum(~stays) - 1)
    done = ~stays[groups]
    closed = Closed(top + len(values), of_group[~stays], edges.where(done, renamed[groups]))
    patches = np.zeros_like(last)
    patches[last > 0] = renamed[group[last[last > 0] - 1]]
    return closed, _Open(of_group[stays], edges.where(~done, renamed[groups]), values[-1], patches)


def _groups(before: _Open, first_row: np.ndarray, first_ids: np.ndarray, count: int) -> np.ndarray:
    """For each patch of this strip and each open one: what they are together."""
    meet = (before.row == first_row) & (first_row != 0)
    pairs = (before.patches[meet] - 1, first_ids[meet] - 1)
    graph = coo_array((np.ones(len(pairs[0]), bool), pairs), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _edges(before: _Open, values: np.ndarray, ids: np.ndarray, top: int) -> Edges:
    """The edges above every row of a strip."""
    labels = np.concatenate([before.row[None], values])
    patches = np.concatenate([before.patches[None], ids])
    differs = labels[:-1] != labels[1:]
    return Edges.joined(
        [
            _runs(np.where(differs, patches[1:], 0), top, 1),
            _runs(np.where(differs, patches[:-1], 0), top, -1),
        ]
    )


def _runs(patches: np.ndarray, top: int, direction: int) -> Edges:
    """Runs of one patch in every row; 0 is none."""
    wide = np.pad(patches, ((0, 0), (1, 1)))
    change = wide[:, 1:] != wide[:, :-1]
    y, left = np.nonzero(change & (wide[:, 1:] != 0))
    _, right = np.nonzero(change & (wide[:, :-1] != 0))
    return Edges(patches[y, left], y + top, left, right, np.full(len(y), direction))
