"""What a run will do, known before it does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaipipe.running.budget import Memory
from xaipipe.running.exact.network import Network
from xaipipe.running.layout import Layout
from xaipipe.running.tiling import Lattice, Tiling
from xaipipe.types import LabelImage, Region, Tile


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """One region and which of its tiles are worth explaining; a bit each, since a large slide has millions."""

    region: Region
    tiling: Tiling
    wanted: bytes
    count: int

    @classmethod
    def of(cls, region: Region, tiling: Tiling, wanted: Sequence[bool]) -> RegionPlan:
        """From an answer for every tile of the region."""
        return cls(region, tiling, np.packbits(np.asarray(wanted, bool)).tobytes(), sum(wanted))

    @property
    def tiles(self) -> tuple[Tile, ...]:
        everything = self.tiling.tiles(self.region)
        wanted = np.unpackbits(np.frombuffer(self.wanted, np.uint8), count=len(everything))
        return tuple(tile for tile, keep in zip(everything, wanted, strict=True) if keep)

    def batches(self, size: int) -> Iterator[tuple[Tile, ...]]:
        """Always the same batches for the same region, so that the same bits come out whenever it is run."""
        tiles = self.tiles
        for start in range(0, len(tiles), size):
            yield tiles[start : start + size]


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
    passes: int
    """How often every tile is read."""
    memory: Memory
    grid_source: str
    layer: str | None
    network: Network | None = None
    """In an exact run: what is known of the network on the whole image."""
    targets: int = 1
    """How many are explained together, each into a result of its own."""

    @property
    def tiles(self) -> int:
        return sum(planned.count for planned in self.regions)

    @property
    def skipped(self) -> int:
        """Background tiles that will not be explained."""
        return sum(self.background.values())

    @property
    def seconds(self) -> float:
        return self.tiles * self.passes * self.seconds_per_tile

    @property
    def bytes(self) -> int:
        """Of all arrays of all targets, before compression."""
        return self.targets * sum(
            len(array.channels) * array.height * array.width * np.dtype(array.dtype).itemsize
            for array in (*self.layout.arrays, *self.layout.derived)
        )
