"""The tiles that a plan is tried on: some that can be read."""

from __future__ import annotations

from collections.abc import Sequence

from xaipipe.errors import InputError
from xaipipe.running.quarantine import load
from xaipipe.running.run import Run
from xaipipe.types import Slide, Tile

_TRIES = 16
"""Tiles all over the slide that have to be unreadable before it is given up."""


def readable_sample(run: Run, slide: Slide, tiles: Sequence[Tile]) -> tuple[Tile, ...]:
    """The first batch, or what can be read of it, or else the first readable tile of some all over the slide."""
    first = tuple(tiles[: run.config.loader.params.batch])
    spread = tiles[len(first) :][:: max((len(tiles) - len(first)) // _TRIES, 1)][:_TRIES]
    reasons: list[str] = []
    for candidates in (first, *((tile,) for tile in spread)):
        loaded = load(run, candidates)
        if loaded.batch is not None:
            return tuple(tile for tile in candidates if tile not in loaded.lost)
        reasons.extend(loaded.lost.values())
    raise InputError(
        "the slide cannot be read",
        got=f"{len(reasons)} of {len(tiles)} tiles were tried, and every one is unreadable; the first: {reasons[0]}",
        where=slide,
        hint="the file is damaged, or its reader is: see [run] isolate, read_timeout, reader_memory",
    )
