"""The tiles that a plan is tried on: some that can be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xaipipe.errors import InputError
from xaipipe.running.plan import RegionPlan
from xaipipe.running.quarantine import load
from xaipipe.running.run import Run
from xaipipe.types import Slide, Tile

_TRIES = 16
"""Tiles all over the slide that have to be unreadable before it is given up."""


def readable_sample(run: Run, slide: Slide, regions: Sequence[RegionPlan]) -> tuple[Tile, ...]:
    """The first batch, or what can be read of it, or else the first readable tile of some all over the slide."""
    reasons: list[str] = []
    for candidates in _candidates(regions, run.config.loader.params.batch):
        loaded = load(run, candidates)
        if loaded.batch is not None:
            return tuple(tile for tile in candidates if tile not in loaded.lost)
        reasons.extend(loaded.lost.values())
    tiles = sum(planned.count for planned in regions)
    raise InputError(
        "the slide cannot be read",
        got=f"{len(reasons)} of {tiles} tiles were tried, and every one is unreadable; the first: {reasons[0]}",
        where=slide,
        hint="the file is damaged, or its reader is: see [run] isolate, read_timeout, reader_memory",
    )


def _candidates(regions: Sequence[RegionPlan], batch: int) -> Iterator[tuple[Tile, ...]]:
    """The first batch, then single tiles: of as many regions as there are tries, one in the middle of each."""
    worth = [planned for planned in regions if planned.count]
    first = worth[0].tiles
    yield first[:batch]
    yield from ((tile,) for tile in first[batch:][:: max((len(first) - batch) // _TRIES, 1)][:_TRIES])
    for planned in worth[1 :: max((len(worth) - 1) // _TRIES, 1)][:_TRIES]:
        yield (planned.tiles[planned.count // 2],)
