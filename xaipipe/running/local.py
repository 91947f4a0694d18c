"""The local executor: reading, explaining and writing overlap; what is in flight is bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from xaipipe.hookspecs import hookimpl
from xaipipe.running.approximate import explain_regions
from xaipipe.running.commits import COMMITS_IN_FLIGHT, needed
from xaipipe.running.deriving import derive_regions
from xaipipe.running.exact.passes import explain_exactly
from xaipipe.running.layout import ArraySpec
from xaipipe.running.masks import keep_masks
from xaipipe.running.memory import return_large_buffers
from xaipipe.running.patched import read_patched
from xaipipe.running.quarantine import commit, commit_noting, count_unreadable, distrust_derived
from xaipipe.running.run import Run
from xaipipe.running.selection import keep_selection
from xaipipe.running.threads import overlapped, reading
from xaipipe.types import Region, Unreadable


class LocalExecutor:
    """Runs a pipeline in this process, with threads."""

    @hookimpl(trylast=True)
    def run_pipeline(self, run: Run) -> bool:
        return_large_buffers()
        for one in run.every:
            keep_selection(one)
            keep_batch(one)
            if one.config.store.unreadable():
                distrust_derived(one)
        copy_images(run)
        for one in run.every:
            keep_masks(one)
        if run.plan.network is None:
            explain_regions(run)
        else:
            explain_exactly(run, run.plan.network)
        for one in run.every:
            if one.config.postprocessors or one.config.segmenters:
                derive_regions(one)
            derive_arrays(one)
        return True

    @hookimpl(trylast=True)
    def run_stage(self, stage: Any, item: Any, run: Run) -> Any:
        return stage.process(item, run)


def keep_batch(run: Run) -> None:
    """Go on with the batches that the result was begun with."""
    store = run.config.store
    run.begun_with = store.recall("batch")
    store.remember("batch", run.batch)


def copy_images(run: Run) -> None:
    """The slide's own levels, where the store wants them; each region is read once for all targets."""
    slide = run.plan.tiling.slide.original
    specs = [spec for spec in run.plan.layout.arrays if spec.role == "image"]
    work = ((level, spec, region) for level, spec in enumerate(specs) for region in spec.regions())

    def copy(level: int, spec: ArraySpec, region: Region) -> tuple[Unreadable, ...]:
        runs = [one for one in run.every if needed(one, spec.name, region)]
        if not runs:
            return ()
        pixels, holes = read_patched(slide, level, region.y, region.x, region.h, region.w)
        parts = tuple(Unreadable(spec.name, region, **asdict(hole)) for hole in holes)
        for one in runs:
            commit_noting(one, region, {spec.name: np.moveaxis(pixels, 2, 0)}, parts)
        return parts

    with reading(run, "copy") as copiers:
        for parts in overlapped(copiers, lambda one: copy(*one), work, COMMITS_IN_FLIGHT):
            count_unreadable(run, parts)


def derive_arrays(run: Run) -> None:
    """Last of all what the store makes of the rest; an array begins when those before it are committed."""
    store = run.config.store
    with ThreadPoolExecutor(run.config.run.readers, "pyramid") as workers:
        for spec in run.plan.layout.derived:

            def derive(region: Region, spec: ArraySpec = spec) -> None:
                if needed(run, spec.name, region):
                    commit(run, spec.name, region, store.derive(spec.name, region))

            for _ in overlapped(workers, derive, spec.regions(), COMMITS_IN_FLIGHT):
                pass
