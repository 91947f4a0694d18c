"""Cells in any order: what `Field` says in a few numbers, written down for every element of a tensor.

Where a network shuffles its cells (into tokens, into windows, rolled), the same is done with the tensors that say where
each element lies. What comes out at the end lies in order again, and is a `Field`, or `Tokens` that can be laid out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaipipe.models.fields import Field
from xaipipe.models.layout import Layout

_EVEN = 1e-6
"""Of a cell: how far a cell of a grid may lie off its place."""
_DECIMALS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Scattered:
    """Where each element of a tensor lies on the input; NaN where it lies nowhere."""

    y: Tensor
    x: Tensor
    base: Field
    """What else is known of the cells: how wide they are, how far they see."""

    @classmethod
    def of(cls, field: Field, shape: torch.Size, device: torch.device) -> Scattered:
        """Where a field says that they lie."""
        along = []
        for axis in (0, 1):
            dimension = field.axes[axis]
            centres = torch.arange(shape[dimension], dtype=torch.float64, device=device)
            line = [-1 if d == dimension else 1 for d in range(len(shape))]
            along.append((field.offset[axis] + field.scale[axis] * centres).reshape(line).expand(shape))
        return cls(along[0], along[1], field)

    def changed(self, y: Tensor, x: Tensor) -> Scattered:
        return Scattered(y, x, self.base)

    def averaged(self, dimension: int, size: int) -> Scattered | None:
        """Behind an operator that mixes along a dimension; None where nothing tells the results' places apart."""
        y, x = (_mean(places, dimension) for places in (self.y, self.x))
        if not (_varying(y) or _varying(x)):
            return None
        shape = [*self.y.shape]
        shape[dimension] = size
        return self.changed(y.expand(shape), x.expand(shape))

    def in_order(self) -> Field | None:
        """The field that says the same; None where cells do not lie evenly along two dimensions."""
        rows, columns = _varying(self.y), _varying(self.x)
        if len(rows) != 1 or len(columns) != 1 or rows == columns:
            return None
        lines = [_line(places, axis) for places, axis in ((self.y, rows[0]), (self.x, columns[0]))]
        found = [_evenly(line) for line in lines]
        if found[0] is None or found[1] is None:
            return None
        (top, height), (left, width) = found[0], found[1]
        return replace(self.base, scale=(height, width), offset=(top, left), axes=(rows[0], columns[0]))


def laid_out(places: Field | Scattered, shape: torch.Size) -> tuple[Layout, Field] | None:
    """How an output of one image becomes maps, and where their cells lie; None where it is none."""
    if isinstance(places, Field):
        others = [d for d in range(len(shape)) if d not in places.axes]
        return (Layout((*_images_first(others, shape), *places.axes)), places) if len(shape) == 4 else None
    return _tokens(places, shape)


def _tokens(places: Scattered, shape: torch.Size) -> tuple[Layout, Field] | None:
    """Tokens [N, T, C], of which those with a place lie together and row by row."""
    along = sorted({*_varying(places.y), *_varying(places.x)})
    if len(shape) != 3 or len(along) != 1:
        return None
    y, x = _line(places.y, along[0]), _line(places.x, along[0])
    placed = torch.nonzero(~y.isnan())[:, 0]
    start, count = int(placed[0]), len(placed)
    if int(placed[-1]) - start + 1 != count:
        return None
    y, x = y[start : start + count], x[start : start + count]
    width = int((y == y[0]).long().cumprod(0).sum())
    if count % width:
        return None
    y, x = y.reshape(-1, width), x.reshape(-1, width)
    if not (y == y[:, :1]).all() or not (x == x[:1]).all():
        return None
    rows, columns = _evenly(y[:, 0], places.base.scale[0]), _evenly(x[0], places.base.scale[1])
    if rows is None or columns is None:
        return None
    others = [d for d in range(3) if d not in along]
    layout = Layout((*_images_first(others, shape), *along), (len(y), width), start)
    return layout, replace(places.base, scale=(rows[1], columns[1]), offset=(rows[0], columns[0]))


def _images_first(others: list[int], shape: torch.Size) -> tuple[int, int]:
    """Which of two dimensions are the images, of which there is one, and which the channels."""
    first, second = others
    return (first, second) if shape[first] == 1 else (second, first)


def one_of_each(places: Tensor) -> Tensor:
    """Of a tensor that was expanded, one of what is the same: all that has to be looked at."""
    for dimension, stride in enumerate(places.stride()):
        if stride == 0:
            places = places.narrow(dimension, 0, 1)
    return places


def _mean(places: Tensor, dimension: int) -> Tensor:
    """Of those that have a place; rounded, since in another order the same places have another sum."""
    places = one_of_each(places)
    first = places.narrow(dimension, 0, 1)
    return (
        first
        if bool((places == first).all())
        else places.nanmean(dim=dimension, keepdim=True).round(decimals=_DECIMALS)
    )


def _varying(places: Tensor) -> list[int]:
    """The dimensions along which places differ, of those that are places."""
    places = one_of_each(places)
    found = []
    for dimension in range(places.ndim):
        first = places.narrow(dimension, 0, 1)
        if bool(((places != first) & ~(places.isnan() & first.isnan())).any()):
            found.append(dimension)
    return found


def _line(places: Tensor, dimension: int) -> Tensor:
    """What there is along one dimension; elsewhere all is the same."""
    for other in range(places.ndim):
        if other != dimension:
            places = places.narrow(other, 0, 1)
    return places.reshape(-1)


def _evenly(line: Tensor, alone: float = 0.0) -> tuple[float, float] | None:
    """Offset and scale of cells in a row that rises evenly; of a single cell the scale is `alone`."""
    if len(line) == 1:
        return (float(line[0]), alone) if alone else None
    steps = line.diff()
    scale = float(steps[0])
    if not scale > 0 or not bool(((steps - scale).abs() <= _EVEN * scale).all()):
        return None
    return float(line[0]), scale
