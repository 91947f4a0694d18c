"""The local executor: reading, explaining and writing overlap; what is in flight is bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from xaipipe.hookspecs import hookimpl
from xaipipe.running.assembly import Assembly
from xaipipe.running.chain import final_map, fit_segmenters, own_cells, read_item, segmented
from xaipipe.running.layout import ArraySpec
from xaipipe.running.memory import return_large_buffers
from xaipipe.running.plan import RegionPlan
from xaipipe.running.run import Redone, Run
from xaipipe.types import Batch, Region

T = TypeVar("T")
R = TypeVar("R")
_COMMITS_IN_FLIGHT = 2


class LocalExecutor:
    """Runs a pipeline in this process, with threads."""

    @hookimpl(trylast=True)
    def run_pipeline(self, run: Run) -> bool:
        return_large_buffers()
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
    slide = run.plan.tiling.slide.original
    specs = [spec for spec in run.plan.layout.arrays if spec.role == "image"]
    work = ((level, spec, region) for level, spec in enumerate(specs) for region in spec.regions())

    def copy(level: int, spec: ArraySpec, region: Region) -> None:
        if needed(run, spec.name, region):
            pixels = slide.read(level, region.y, region.x, region.h, region.w)
            commit(run, spec.name, region, np.moveaxis(pixels, 2, 0))

    with ThreadPoolExecutor(run.config.run.readers, "copy") as copiers:
        for _ in overlapped(copiers, lambda one: copy(*one), work, _COMMITS_IN_FLIGHT):
            pass


def explain_regions(run: Run) -> None:
    """The first pass: every region's raw map, explained batch by batch and committed whole."""
    spec = run.plan.layout.arrays[0]
    with (
        ThreadPoolExecutor(run.config.run.readers, "read") as readers,
        ThreadPoolExecutor(1, "write") as writer,
    ):
        commits = _Commits(run, writer)
        batches = overlapped(readers, lambda work: _read(run, work), _work(run), run.config.run.readers + 1)
        assembly = None
        for region, batch, is_last in batches:
            if assembly is None:
                _, _, h, w = spec.cells(region)
                assembly = Assembly(region, run.plan.lattice, (h, w), run.plan.channels)
            if batch is not None:
                assembly.add(run.stage(run.config.explainer, batch))
            if is_last:
                commits.submit(spec.name, region, assembly.values)
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


def commit(run: Run, array: str, region: Region, data: Any) -> None:
    """Hand one region of one array to the store, where it has any cells there."""
    if data.size:
        run.receipts.append(run.stage(run.config.store, (array, region, data)))


def overlapped(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """`map` over a pool, in order, with at most `ahead` results computed before they are asked for."""
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class _Commits:
    """Writes behind the explaining, never more than a few regions behind."""

    def __init__(self, run: Run, writer: ThreadPoolExecutor) -> None:
        self._run, self._writer = run, writer
        self._waiting: deque[Future[None]] = deque()

    def submit(self, array: str, region: Region, data: Any) -> None:
        self._waiting.append(self._writer.submit(commit, self._run, array, region, data))
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
        if not needed(run, raw, planned.region):
            continue
        batches = list(planned.batches(run.config.loader.params.batch))
        for number, tiles in enumerate(batches, start=1):
            yield planned, tiles, number == len(batches)
        if not batches:
            yield planned, None, True


def _read(run: Run, work: Work) -> tuple[Region, Batch | None, bool]:
    planned, tiles, is_last = work
    batch = None if tiles is None else run.stage(run.config.loader, tiles)
    return planned.region, batch, is_last
