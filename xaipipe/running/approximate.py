"""The first pass of an approximate run: every tile is explained by itself, and every region committed whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from xaipipe.doubts import listening
from xaipipe.running.assembly import Assembly
from xaipipe.running.commits import Commits, to_explain
from xaipipe.running.device import arriving
from xaipipe.running.in_parts import in_parts
from xaipipe.running.plan import RegionPlan
from xaipipe.running.quarantine import Loaded, count_unreadable, load, parts_of, without
from xaipipe.running.run import Run
from xaipipe.running.threads import overlapped, reading
from xaipipe.running.together import explained_for
from xaipipe.types import Batch, Region, Tile, Unreadable

Runs = tuple[Run, ...]
"""Those of the targets for which a region has to be explained."""
Work = tuple[RegionPlan, Runs, "tuple[Any, ...] | None", bool]
Read = tuple[Region, Runs, "Loaded | None", bool]


def explain_regions(run: Run) -> None:
    """Every region's raw map for every target, batch by batch."""
    with ThreadPoolExecutor(1, "write") as writer, reading(run, "read") as readers:
        commits = {one: Commits(one, writer) for one in run.every}
        read = overlapped(readers, lambda work: _read(run, work), _work(run), run.plan.memory.sizes.ahead)
        batches = arriving(read, run.model.device, _with_batch)
        assemblies: list[Assembly] = []
        parts: tuple[Unreadable, ...] = ()
        for region, runs, loaded, is_last in batches:
            if not assemblies:
                assemblies, parts = [Assembly(region, run.plan.lattice, run.plan.layout) for _ in runs], ()
            if loaded is not None:
                parts += _explain(run, runs, assemblies, loaded, region)
            if is_last:
                for one, assembly in zip(runs, assemblies, strict=True):
                    commits[one].submit(region, assembly.arrays, parts, assembly.said)
                assemblies = []
        for waiting in commits.values():
            waiting.finish()


def _work(run: Run) -> Iterator[Work]:
    """Every batch of every region with whether it is the region's last; None for a region that has none."""
    for planned in run.plan.regions:
        runs = tuple(one for one in run.every if to_explain(one, planned.region))
        if not runs:
            continue
        batches = list(planned.batches(run.batch))
        for number, tiles in enumerate(batches, start=1):
            yield planned, runs, tiles, number == len(batches)
        if not batches:
            yield planned, runs, None, True


def _read(run: Run, work: Work) -> Read:
    planned, runs, tiles, is_last = work
    return planned.region, runs, None if tiles is None else load(run, tiles), is_last


def _with_batch(item: Read, change: Callable[[Batch], Batch]) -> Read:
    region, runs, loaded, is_last = item
    if loaded is None or loaded.batch is None:
        return item
    return region, runs, replace(loaded, batch=change(loaded.batch)), is_last


def _explain(
    run: Run, runs: Runs, assemblies: Sequence[Assembly], loaded: Loaded, region: Region
) -> tuple[Unreadable, ...]:
    """Lay the maps of a batch into their region, for each target; what could not be read is returned."""
    targets: list[dict[Tile, int | str]] = [{} for _ in runs]
    with listening() as heard:
        if loaded.batch is not None:
            for each in in_parts(run, loaded.batch, lambda part: explained_for(runs, part)):
                for assembly, own, explanation in zip(assemblies, targets, each, strict=True):
                    assembly.add(without(explanation, loaded.lost))
                    own.update(zip(explanation.tiles, explanation.targets, strict=True))
    for assembly, own in zip(assemblies, targets, strict=True):
        assembly.leave_out(loaded.lost, heard.doubts, own if len(runs) > 1 else None)
    run.note(heard.remarks)
    parts = parts_of(run.plan.layout.arrays[0].name, region, loaded.lost)
    count_unreadable(run, parts)
    return parts
