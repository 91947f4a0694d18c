"""The second pass: every region's final map and labels, from the committed raw maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from xaipipe.running.chain import final_map, fit_segmenters, own_cells, read_item, segmented
from xaipipe.running.commits import needed
from xaipipe.running.quarantine import commit
from xaipipe.running.run import Run
from xaipipe.running.threads import overlapped
from xaipipe.types import Region

R = TypeVar("R")


def derive_regions(run: Run) -> None:
    """Survey all regions for the stages that want to know the whole slide, then make and commit each."""
    segmenters, derivers = run.config.segmenters, run.plan.memory.sizes.derivers
    regions = [planned.region for planned in run.plan.regions]

    def finished_map(region: Region) -> Any:
        return final_map(run, read_item(run, region))

    with ThreadPoolExecutor(derivers, "derive") as workers:

        def over_regions(function: Callable[[Any], R]) -> Iterator[R]:
            return overlapped(workers, lambda region: function(finished_map(region)), regions, derivers)

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

        for _ in overlapped(workers, derive, regions, derivers):
            pass
