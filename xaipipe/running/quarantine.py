"""Tiles that cannot be read are left out, noted and counted; the others come out as they always would have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from xaipipe.errors import BoundaryError, InputError, SlideLostError
from xaipipe.running.run import Run
from xaipipe.types import Batch, Explanation, Region, Tile, Unreadable


@dataclass(frozen=True)
class Loaded:
    """What became of the tiles of a batch."""

    batch: Batch | None
    """None where no tile could be read."""
    lost: Mapping[Tile, str]
    """Tiles that could not be read, and why."""


def load(run: Run, tiles: tuple[Tile, ...]) -> Loaded:
    """A batch; where it cannot be loaded, its tiles one by one."""
    try:
        return Loaded(run.stage(run.config.loader, tiles), {})
    except InputError as error:
        reason_to_leave_out(error)
    return _one_by_one(run, tiles)


def reason_to_leave_out(error: InputError) -> str:
    """Why a tile is left out, in one line; an error that is not about this part of the slide goes on its way."""
    if isinstance(error, BoundaryError | SlideLostError):
        raise error
    got = error.facts["got"]
    return " ".join((error.problem if got is None else f"{error.problem}: {got}").split())


def _one_by_one(run: Run, tiles: tuple[Tile, ...]) -> Loaded:
    """The batch with a readable tile in place of each that is not: a batch of another size may give other bits."""
    singles: dict[Tile, Batch] = {}
    lost: dict[Tile, str] = {}
    for tile in tiles:
        try:
            singles[tile] = run.stage(run.config.loader, (tile,))
        except InputError as error:
            lost[tile] = reason_to_leave_out(error)
    if not singles:
        return Loaded(None, lost)
    stand_in = next(iter(singles.values()))
    batches = [singles.get(tile, stand_in) for tile in tiles]
    pixels, valid = torch.cat([one.pixels for one in batches]), torch.cat([one.valid for one in batches])
    return Loaded(Batch(tiles, pixels, valid), lost)


def without(explanation: Explanation, lost: Mapping[Tile, str]) -> Explanation:
    """The maps of the tiles that were read."""
    if not lost:
        return explanation
    kept = [number for number, tile in enumerate(explanation.tiles) if tile not in lost]
    facts = explanation.diagnostics.items()
    return explanation.replace(
        values=explanation.values[kept],
        diagnostics={
            name: [value[number] for number in kept] if isinstance(value, list) else value for name, value in facts
        },
        targets=tuple(explanation.targets[number] for number in kept),
        scores=explanation.scores[kept],
        valid=None if explanation.valid is None else explanation.valid[kept],
        tiles=tuple(explanation.tiles[number] for number in kept),
        standard_error=None if explanation.standard_error is None else explanation.standard_error[kept],
    )


def parts_of(array: str, region: Region, lost: Mapping[Tile, str]) -> tuple[Unreadable, ...]:
    """Lost tiles as the result lists them."""
    return tuple(
        Unreadable(array, region, tile.level, tile.y, tile.x, tile.h, tile.w, reason) for tile, reason in lost.items()
    )


def count_unreadable(run: Run, parts: tuple[Unreadable, ...]) -> None:
    """Add to what could not be read; an error where it is more than the settings put up with."""
    run.unreadable.extend(parts)
    most = run.config.run.max_bad_tiles
    if parts and most is not None and len(run.unreadable) > most:
        raise InputError(
            "more of the slide is unreadable than is allowed",
            got=f"tiles and pieces of the image: {len(run.unreadable)}; the last: {parts[-1].reason}",
            expected=f"at most {most} (max_bad_tiles)",
            where=run.plan.tiling.slide,
            hint="what is committed is kept: xaipipe resume with a larger --max-bad-tiles",
        )


def commit_noting(run: Run, region: Region, arrays: Mapping[str, Any], parts: tuple[Unreadable, ...]) -> None:
    """Commit a region of some arrays, of which the first is the one that was read, with what is missing in it.

    The note is there before the region is, and goes after it: a run that is killed in between computes it again.
    """
    store, first = run.config.store, next(iter(arrays))
    if parts:
        if first == run.plan.layout.arrays[0].name:
            distrust_derived(run)
        store.note_unreadable(first, region, parts)
    for array, data in arrays.items():
        commit(run, array, region, data)
    if not parts and run.resumed:
        store.note_unreadable(first, region, ())


def distrust_derived(run: Run, reason: str = "parts of the map under it could not be read") -> None:
    """In a resumed run: what an earlier one made from the map is outdated when the map changes."""
    if run.resumed:
        for spec in run.plan.layout.second_pass:
            run.config.store.distrust(spec.name, reason)


def commit(run: Run, array: str, region: Region, data: Any) -> None:
    """Hand one region of one array to the store, where it has any cells there."""
    if data.size:
        run.receipts.append(run.stage(run.config.store, (array, region, data)))
