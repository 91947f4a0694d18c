"""The first pass of an approximate run: every tile is explained by itself, and every region committed whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from xaipipe.types import Batch, Region, Unreadable

Work = tuple[RegionPlan, "tuple[Any, ...] | None", bool]
Read = tuple[Region, "Loaded | None", bool]


def explain_regions(run: Run) -> None:
    """Every region's raw map, batch by batch."""
    with ThreadPoolExecutor(1, "write") as writer, reading(run, "read") as readers:
        commits = Commits(run, writer)
        read = overlapped(readers, lambda work: _read(run, work), _work(run), run.plan.memory.sizes.ahead)
        batches = arriving(read, run.model.device, _with_batch)
        assembly: Assembly | None = None
        parts: tuple[Unreadable, ...] = ()
        for region, loaded, is_last in batches:
            if assembly is None:
                assembly, parts = Assembly(region, run.plan.lattice, run.plan.layout), ()
            if loaded is not None:
                parts += _explain(run, assembly, loaded, region)
            if is_last:
                commits.submit(region, assembly.arrays, parts, assembly.said)
                assembly = None
        commits.finish()


def _work(run: Run) -> Iterator[Work]:
    """Every batch of every region with whether it is the region's last; None for a region that has none."""
    for planned in run.plan.regions:
        if not to_explain(run, planned.region):
            continue
        batches = list(planned.batches(run.batch))
        for number, tiles in enumerate(batches, start=1):
            yield planned, tiles, number == len(batches)
        if not batches:
            yield planned, None, True


def _read(run: Run, work: Work) -> Read:
    planned, tiles, is_last = work
    return planned.region, None if tiles is None else load(run, tiles), is_last


def _with_batch(item: Read, change: Callable[[Batch], Batch]) -> Read:
    region, loaded, is_last = item
    if loaded is None or loaded.batch is None:
        return item
    return region, replace(loaded, batch=change(loaded.batch)), is_last


def _explain(run: Run, assembly: Assembly, loaded: Loaded, region: Region) -> tuple[Unreadable, ...]:
    """Lay the maps of a batch into their region; what could not be read is returned."""
    with listening() as heard:
        if loaded.batch is not None:
            for explanation in in_parts(run, loaded.batch, lambda part: run.stage(run.config.explainer, part)):
                assembly.add(without(explanation, loaded.lost))
    assembly.leave_out(loaded.lost, heard.doubts)
    run.note(heard.remarks)
    parts = parts_of(run.plan.layout.arrays[0].name, region, loaded.lost)
    count_unreadable(run, parts)
    return parts
