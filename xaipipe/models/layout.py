"""How a layer's output becomes maps, and maps its output again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an output keeps its cells: in maps, in maps with the channels last, or as tokens.

    Tokens that have no place on the image, such as class and register tokens, are in no map.
    """

    axes: tuple[int, ...] = (0, 1, 2, 3)
    """Dimensions of the output: images, channels, rows, columns; or images, channels, tokens."""
    size: tuple[int, int] | None = None
    """Of tokens: how many rows and columns they are; they lie row by row."""
    start: int = 0
    """The first token that has a place."""

    @property
    def words(self) -> str:
        """The layout as people write it."""
        if self.size is None:
            names = dict(zip(self.axes, "NChw", strict=True))
        else:
            names = dict(zip(self.axes, "NCT", strict=True))
        return f"[{', '.join(names[axis] for axis in sorted(names))}]"

    def fits(self, output: Any) -> bool:
        """Whether an output can have this layout."""
        if not isinstance(output, Tensor) or output.ndim != len(self.axes):
            return False
        return self.size is None or output.shape[self.axes[2]] >= self.start + self.size[0] * self.size[1]

    def to_maps(self, output: Tensor) -> Tensor:
        """[N, C, h, w], of an output, or of a gradient of its shape."""
        if self.size is None:
            return output.permute(self.axes)
        cells = self.size[0] * self.size[1]
        tokens = output.permute(self.axes)[..., self.start : self.start + cells]
        return tokens.reshape(*tokens.shape[:2], *self.size)

    def from_maps(self, maps: Tensor, like: Tensor) -> Tensor:
        """Maps as an output; what has no place on the image is as in the output `like`."""
        if self.size is None:
            return maps.permute([self.axes.index(axis) for axis in range(4)])
        axis, end = self.axes[2], self.start + maps.shape[2] * maps.shape[3]
        tokens = maps.flatten(2).permute([self.axes.index(axis) for axis in range(3)])
        return torch.cat([like.narrow(axis, 0, self.start), tokens, like[_from(axis, end)]], dim=axis)


def _from(axis: int, start: int) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(start, None))


MAPS = Layout()
"""[N, C, h, w]"""
