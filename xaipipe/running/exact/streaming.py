"""Streaming a slide in shares: reading them, and sums over all of them that a resumed run does not make anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from xaipipe.errors import InputError
from xaipipe.running.device import arriving
from xaipipe.running.exact.kept import Kept, Sums
from xaipipe.running.exact.network import Network
from xaipipe.running.exact.shares import Share, batches, largest_tile
from xaipipe.running.in_parts import in_parts
from xaipipe.running.quarantine import reason_to_leave_out
from xaipipe.running.run import Run
from xaipipe.running.threads import overlapped, reading
from xaipipe.types import Batch, Region, Tile

Cut = Callable[[Region], Iterator[Share]]
"""How a pass divides a region."""
Read = tuple[Region, tuple[Share, ...], "Batch | None", bool]
"""Some shares of a region, their pixels, and whether they are its last; none for a region without any."""


def sums_of_all(
    run: Run, network: Network, kept: Kept, cut: Cut, of_batch: Callable[[tuple[Share, ...], Batch], Sums]
) -> Sums:
    """Sums over all regions, in their order; those that an earlier run kept are not computed again."""
    regions = [planned.region for planned in run.plan.regions]
    missing = [region for region in regions if kept.recall(region) is None]
    sums: Sums = []
    for region, shares, batch, is_last in read_shares(run, network, missing, cut):
        if batch is not None:
            for parts in in_parts(run, batch, partial(of_batch, shares)):
                sums = _added(sums, [part.sum(dim=0).cpu() for part in parts])
        if is_last:
            kept.remember(region, sums)
            sums = []
    total: Sums = []
    for region in regions:
        total = _added(total, kept.recall(region) or [])
    return total


def read_shares(run: Run, network: Network, regions: Sequence[Region], cut: Cut) -> Iterator[Read]:
    """Shares of every region in its batches, read ahead, their pixels on the device."""
    tile = largest_tile(network, run.plan.tiling, run.config.explainer)
    pixels = run.batch * tile.h * tile.w

    def work() -> Iterator[tuple[Region, tuple[Share, ...], bool]]:
        for region in regions:
            parts = list(batches(cut(region), pixels)) or [()]
            yield from ((region, shares, number == len(parts)) for number, shares in enumerate(parts, start=1))

    def read(item: tuple[Region, tuple[Share, ...], bool]) -> Read:
        region, shares, is_last = item
        tiles = tuple(share.tile for share in shares)
        return region, shares, load(run, tiles) if tiles else None, is_last

    with reading(run, "read") as readers:
        found = overlapped(readers, read, work(), run.plan.memory.sizes.ahead)
        yield from arriving(found, run.model.device, _with_batch)


def load(run: Run, tiles: tuple[Tile, ...]) -> Batch:
    """All of them, since the whole image's map wants every pixel."""
    try:
        batch: Batch = run.stage(run.config.loader, tiles)
    except InputError as error:
        raise InputError(
            "a part of the slide is unreadable, which an exact run cannot leave out",
            got=reason_to_leave_out(error),
            where=error.facts["where"],
            hint='set [run] mode = "approximate"',
        ) from error
    return batch


def _with_batch(item: Read, change: Callable[[Batch], Batch]) -> Read:
    region, shares, batch, is_last = item
    return region, shares, None if batch is None else change(batch), is_last


def _added(total: Sums, part: Sums) -> Sums:
    if not total or not part:
        return total or part
    return [a + b for a, b in zip(total, part, strict=True)]
