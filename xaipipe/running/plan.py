"""What a run will do, known before it does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaipipe.running.budget import Memory
from xaipipe.running.exact.network import Network
from xaipipe.running.layout import Layout
from xaipipe.running.tiling import Lattice, Tiling
from xaipipe.types import LabelImage, Region, Tile


@dataclass(frozen=True)
class RegionPlan:
    """One region and those of its tiles that are worth explaining."""

    region: Region
    tiles: tuple[Tile, ...]

    def batches(self, size: int) -> Iterator[tuple[Tile, ...]]:
        """Always the same batches for the same region, so that the same bits come out whenever it is run."""
        for start in range(0, len(self.tiles), size):
            yield self.tiles[start : start + size]


@dataclass(frozen=True)
class Plan:
    """Regions and tiles, the arrays to come, and what it will cost."""

    tiling: Tiling
    lattice: Lattice
    layout: Layout
    regions: tuple[RegionPlan, ...]
    background: Mapping[str, int]
    """How many tiles are skipped, by what they are."""
    unjudged: int
    """Tiles to explain of which nobody can say whether they are background, since a picture of them is unreadable."""
    masks: tuple[LabelImage, ...]
    """Label images that the loader made of the whole slide."""
    findings: Mapping[str, Mapping[str, Any]]
    """What the loader found out about the whole slide."""
    channels: int
    seconds_per_tile: float
    """Measured on a sample."""
    sampled: int
    memory: Memory
    grid_source: str
    layer: str | None
    network: Network | None = None
    """In an exact run: what is known of the network on the whole image."""

    @property
    def tiles(self) -> int:
        return sum(len(region.tiles) for region in self.regions)

    @property
    def skipped(self) -> int:
        """Background tiles that will not be explained."""
        return sum(self.background.values())

    @property
    def seconds(self) -> float:
        return self.tiles * self.seconds_per_tile

    @property
    def bytes(self) -> int:
        """Of all arrays, before compression."""
        return sum(
            len(array.channels) * array.height * array.width * np.dtype(array.dtype).itemsize
            for array in (*self.layout.arrays, *self.layout.derived)
        )
