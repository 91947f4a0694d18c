"""The local executor: reading, explaining and writing overlap; what is in flight is bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from xaipipe.hookspecs import hookimpl
from xaipipe.running.assembly import Assembly
from xaipipe.running.chain import final_map, fit_segmenters, own_cells, read_item, segmented
from xaipipe.running.layout import STATUS, ArraySpec
from xaipipe.running.memory import return_large_buffers
from xaipipe.running.patched import read_patched
from xaipipe.running.plan import RegionPlan
from xaipipe.running.quarantine import (
    Loaded,
    commit,
    commit_noting,
    count_unreadable,
    distrust_derived,
    load,
    parts_of,
    without,
)
from xaipipe.running.run import Redone, Run
from xaipipe.running.selection import keep_selection
from xaipipe.running.threads import overlapped, reading
from xaipipe.types import Region, Unreadable

R = TypeVar("R")
_COMMITS_IN_FLIGHT = 2


class LocalExecutor:
    """Runs a pipeline in this process, with threads."""

    @hookimpl(trylast=True)
    def run_pipeline(self, run: Run) -> bool:
        return_large_buffers()
        keep_selection(run)
        if run.config.store.unreadable():
            distrust_derived(run)
        copy_images(run)
        explain_regions(run)
        if run.config.postprocessors or run.config.segmenters:
            derive_regions(run)
        return True

    @hookimpl(trylast=True)
    def run_stage(self, stage: Any, item: Any, run: Run) -> Any:
        return stage.process(item, run)


def needed(run: Run, array: str, region: Region) -> bool:
    """Whether a region has to be computed; in a resumed run, with the reason noted."""
    if not all(run.plan.layout.array(array).cells(region)[2:]):
        return False
    reason = run.config.store.missing(array, region)
    if reason is not None and run.resumed:
        run.redone.append(Redone(array, region, reason))
    return reason is not None


def copy_images(run: Run) -> None:
    """The slide's own levels, where the store wants them."""
    slide = run.plan.tiling.slide
    specs = [spec for spec in run.plan.layout.arrays if spec.role == "image"]
    work = ((level, spec, region) for level, spec in enumerate(specs) for region in spec.regions())

    def copy(level: int, spec: ArraySpec, region: Region) -> tuple[Unreadable, ...]:
        if not needed(run, spec.name, region):
            return ()
        pixels, holes = read_patched(slide, level, region.y, region.x, region.h, region.w)
        parts = tuple(Unreadable(spec.name, region, **asdict(hole)) for hole in holes)
        commit_noting(run, region, {spec.name: np.moveaxis(pixels, 2, 0)}, parts)
        return parts

    with reading(run, "copy") as copiers:
        for parts in overlapped(copiers, lambda one: copy(*one), work, _COMMITS_IN_FLIGHT):
            count_unreadable(run, parts)


def explain_regions(run: Run) -> None:
    """The first pass: every region's raw map, explained batch by batch and committed whole."""
    spec = run.plan.layout.arrays[0]
    with ThreadPoolExecutor(1, "write") as writer, reading(run, "read") as readers:
        commits = _Commits(run, writer)
        batches = overlapped(readers, lambda work: _read(run, work), _work(run), run.config.run.readers + 1)
        assembly: Assembly | None = None
        parts: tuple[Unreadable, ...] = ()
        for region, loaded, is_last in batches:
            if assembly is None:
                _, _, h, w = spec.cells(region)
                assembly, parts = Assembly(region, run.plan.lattice, (h, w), run.plan.channels), ()
            if loaded is not None:
                parts += _explain(run, assembly, loaded, region)
            if is_last:
                commits.submit(region, {spec.name: assembly.values, STATUS: assembly.status}, parts)
                assembly = None
        commits.finish()


def derive_regions(run: Run) -> None:
    """The second pass: every region's final map and labels, from the committed raw maps."""
    segmenters = run.config.segmenters
    regions = [planned.region for planned in run.plan.regions]

    def finished_map(region: Region) -> Any:
        return final_map(run, read_item(run, region))

    with ThreadPoolExecutor(run.config.run.readers, "derive") as workers:

        def over_regions(function: Callable[[Any], R]) -> Iterator[R]:
            return overlapped(workers, lambda region: function(finished_map(region)), regions, _COMMITS_IN_FLIGHT)

        fit_segmenters(run, segmenters, over_regions)

        def derive(region: Region) -> None:
            heatmap = bool(run.config.postprocessors) and needed(run, "heatmap", region)
            labels = bool(segmenters) and needed(run, "segmentation", region)
            if not heatmap and not labels:
                return
            item = finished_map(region)
            if heatmap:
                commit(run, "heatmap", region, own_cells(run, region, item))
            if labels:
                commit(run, "segmentation", region, segmented(run, segmenters, item).labels.numpy())  # type: ignore[union-attr]

        for _ in overlapped(workers, derive, regions, _COMMITS_IN_FLIGHT):
            pass


class _Commits:
    """Writes behind the explaining, never more than a few regions behind."""

    def __init__(self, run: Run, writer: ThreadPoolExecutor) -> None:
        self._run, self._writer = run, writer
        self._waiting: deque[Future[None]] = deque()

    def submit(self, region: Region, arrays: Mapping[str, Any], parts: tuple[Unreadable, ...]) -> None:
        self._waiting.append(self._writer.submit(commit_noting, self._run, region, arrays, parts))
        while len(self._waiting) > _COMMITS_IN_FLIGHT:
            self._waiting.popleft().result()

    def finish(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()


Work = tuple[RegionPlan, "tuple[Any, ...] | None", bool]


def _work(run: Run) -> Iterator[Work]:
    """Every batch of every region with whether it is the region's last; None for a region that has none."""
    raw = run.plan.layout.arrays[0].name
    for planned in run.plan.regions:
        missing = [needed(run, name, planned.region) for name in (raw, STATUS)]  # both are asked, since each says why
        if not any(missing):
            continue
        batches = list(planned.batches(run.config.loader.params.batch))
        for number, tiles in enumerate(batches, start=1):
            yield planned, tiles, number == len(batches)
        if not batches:
            yield planned, None, True


def _read(run: Run, work: Work) -> tuple[Region, Loaded | None, bool]:
    planned, tiles, is_last = work
    return planned.region, None if tiles is None else load(run, tiles), is_last


def _explain(run: Run, assembly: Assembly, loaded: Loaded, region: Region) -> tuple[Unreadable, ...]:
    """Lay the maps of a batch into their region; what could not be read is returned."""
    if loaded.batch is not None:
        assembly.add(without(run.stage(run.config.explainer, loaded.batch), loaded.lost))
    for tile in loaded.lost:
        assembly.leave_out(tile)
    parts = parts_of(run.plan.layout.arrays[0].name, region, loaded.lost)
    count_unreadable(run, parts)
    return parts
