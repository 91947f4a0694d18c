"""The passes of an exact run.

First the image is streamed once, and what goes into the global poolings is added up, of the image and of those that it
is compared with; then the head is known, and with it what each cell counts for. A method that needs sums over the image
has a pass for them: over its pixels before, over its cells after that. In the last pass every region's map is made.
Sums are kept region by region, so that a resumed run does not begin anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from xaipipe.models.whole import pool_sums
from xaipipe.running.checks import named_failures
from xaipipe.running.commits import Commits, to_explain
from xaipipe.running.device import on_device
from xaipipe.running.exact.canvas import Canvas, canvas_for
from xaipipe.running.exact.images import Pooled, images_of
from xaipipe.running.exact.network import Network
from xaipipe.running.exact.shares import (
    Share,
    cellwise_shares,
    contributing_shares,
    first_share,
    map_shares,
    pixel_shares,
    pooling_shares,
    surveyed_shares,
)
from xaipipe.running.exact.streaming import Cut, Sums, key_of, load, read_shares, sums_of_all
from xaipipe.running.in_parts import in_parts
from xaipipe.running.layout import EXPLAINED, STATUS
from xaipipe.running.run import Run
from xaipipe.shares import CellwiseExplainer, ComparingExplainer, FittedExplainer, ShareBatch, SummedExplainer
from xaipipe.stages import Explainer
from xaipipe.types import Batch, Region


def explain_exactly(run: Run, network: Network) -> None:
    """Every region's raw map, as the whole image gives it."""
    wanted = [planned.region for planned in run.plan.regions if to_explain(run, planned.region)]
    if wanted:
        passes = _Passes(run, network)
        pooled = passes.pooled(passes.means())
        passes.meet_head(pooled)
        fitted = passes.fitted(pooled) if isinstance(run.config.explainer, FittedExplainer) else None
        passes.make_maps(wanted, pooled, fitted)
    run.explained = _said_of_whole(run)


def _said_of_whole(run: Run) -> dict[str, Any]:
    """What the model says of it, and what contributions to that sum to: how far a map is complete."""
    store, regions = run.config.store, [planned.region for planned in run.plan.regions]
    said: dict[str, Any] = store.recall("explained") or {}
    if isinstance(run.config.explainer, SummedExplainer):
        said["map_sum"] = math.fsum(store.recall(key_of("mapped", region)) for region in regions)
    return said


def _cut_for(explainer: Explainer) -> Callable[..., Iterator[Share]]:
    """How regions are divided to make the map."""
    if isinstance(explainer, FittedExplainer):
        return map_shares
    return cellwise_shares if isinstance(explainer, CellwiseExplainer) else contributing_shares


class _Passes:
    def __init__(self, run: Run, network: Network) -> None:
        self._run, self._network = run, network
        tiling = run.plan.tiling
        self._pixels: Cut = partial(pixel_shares, network, tiling)
        self._pooling: Cut = partial(pooling_shares, network, tiling)
        self._surveying: Cut = partial(surveyed_shares, network, tiling)
        self._mapping: Cut = partial(_cut_for(run.config.explainer), network, tiling)

    def means(self) -> Tensor | None:
        """Over all pixels, of what other images are made of [1, …]."""
        explainer = self._run.config.explainer
        survey = explainer.survey() if isinstance(explainer, ComparingExplainer) else None
        if survey is None:
            return None

        def surveyed(shares: tuple[Share, ...], batch: Batch) -> Sums:
            with named_failures(explainer, batch):
                return [survey(batch.pixels).double()]

        (total,) = sums_of_all(self._run, self._network, "pixels", self._pixels, surveyed)
        tiling = self._run.plan.tiling
        return (total[None] / (tiling.height * tiling.width)).to(self._run.model.device)

    def pooled(self, means: Tensor | None) -> Pooled:
        """What the poolings are of the whole image, and of the others."""
        run, pools = self._run, self._network.pools

        def of_batch(shares: tuple[Share, ...], batch: Batch) -> Sums:
            images = images_of(run, batch, means)
            return [part for pixels in images for part in pool_sums(run.model, pools, shares[0].own, pixels)]

        sums = sums_of_all(run, self._network, "pooled", self._pooling, of_batch)
        return Pooled(run, self._network, sums, means)

    def meet_head(self, pooled: Pooled) -> None:
        """See what the model says of the whole."""
        share = first_share(self._network, self._run.plan.tiling)
        batch = on_device(load(self._run, (share.tile,)), self._run.model.device)
        self._run.config.store.remember("explained", pooled.said((share,), batch))

    def fitted(self, pooled: Pooled) -> Tensor:
        """What a method learns from sums over the whole image."""
        explainer = self._run.config.explainer
        assert isinstance(explainer, FittedExplainer)
        layer = self._network.layer
        assert layer is not None

        def surveyed(shares: tuple[Share, ...], batch: Batch) -> Sums:
            share = pooled.shared(shares, batch)
            with named_failures(explainer, batch):
                return [explainer.survey(share, share.model).double()]

        (total,) = sums_of_all(self._run, self._network, "surveyed", self._surveying, surveyed)
        with named_failures(explainer, None):
            dtype, device = self._run.model.dtype, self._run.model.device
            return explainer.fit(total[None], layer[0].count * layer[1].count).to(device, dtype)

    def make_maps(self, regions: Sequence[Region], pooled: Pooled, fitted: Tensor | None) -> None:
        raw, store = self._run.plan.layout.arrays[0].name, self._run.config.store
        canvas: Canvas | None = None
        with ThreadPoolExecutor(1, "write") as writer:
            commits = Commits(self._run, writer)
            for region, shares, batch, is_last in read_shares(self._run, self._network, regions, self._mapping):
                canvas = canvas or canvas_for(self._run, region)
                if batch is not None:
                    self._paint(canvas, shares, pooled.shared(shares, batch, fitted))
                if is_last:
                    values = canvas.finished()
                    status = np.full((1, *values.shape[1:]), EXPLAINED, np.uint8)
                    store.remember(key_of("mapped", region), float(values.sum(dtype=np.float64)))
                    commits.submit(region, {raw: values, STATUS: status})
                    canvas = None
            commits.finish()

    def _paint(self, canvas: Canvas, shares: tuple[Share, ...], batch: ShareBatch) -> None:
        done = 0
        for explanation in in_parts(self._run, batch, lambda part: self._run.stage(self._run.config.explainer, part)):
            canvas.add(shares[done : done + len(explanation)], explanation)
            done += len(explanation)
