"""The passes of an exact run.

First the image is streamed once, and what goes into the global poolings is added up, of the image and of those that it
is compared with; then the head is known, and with it what each cell counts for. A method that needs sums over the image
has a pass for them: over its pixels before, over its cells after that. In the last pass every region's map is made.
Sums are kept region by region, so that a resumed run does not begin anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from xaipipe.doubts import Doubt, listening
from xaipipe.models.whole import pool_sums
from xaipipe.running.checks import named_failures
from xaipipe.running.commits import Commits, to_explain
from xaipipe.running.device import on_device
from xaipipe.running.diagnostics import Diagnostics, of_doubts
from xaipipe.running.exact.canvas import Canvas, Pixels, canvas_for
from xaipipe.running.exact.images import Pooled, images_of
from xaipipe.running.exact.kept import Common, OneEach, Sums, key_of
from xaipipe.running.exact.network import Network
from xaipipe.running.exact.shares import (
    Share,
    cuts_for,
    first_share,
    pixel_shares,
)
from xaipipe.running.exact.streaming import Cut, load, read_shares, sums_of_all
from xaipipe.running.in_parts import in_parts
from xaipipe.running.layout import EXPLAINED, STATUS
from xaipipe.running.run import Run
from xaipipe.running.together import explained_for
from xaipipe.shares import ComparingExplainer, FittedExplainer, ShareBatch, SummedExplainer
from xaipipe.types import Batch, Region


def explain_exactly(run: Run, network: Network) -> None:
    """Every region's raw map for every target, as the whole image gives it."""
    every = [(planned.region, one) for planned in run.plan.regions for one in run.every]
    wanted = [(region, one) for region, one in every if to_explain(one, region)]
    if wanted:
        passes = _Passes(run, network, tuple(dict.fromkeys(one for _, one in wanted)))
        pooled = passes.pooled(passes.means())
        passes.meet_head(pooled)
        fitted = passes.fitted(pooled) if isinstance(run.config.explainer, FittedExplainer) else {}
        passes.make_maps(wanted, pooled, fitted)
    for one in run.every:
        one.explained = _said_of_whole(one)


def _said_of_whole(run: Run) -> dict[str, Any]:
    """What the model says of it, and what contributions to that sum to: how far a map is complete."""
    store, regions = run.config.store, [planned.region for planned in run.plan.regions]
    said: dict[str, Any] = store.recall("explained") or {}
    if isinstance(run.config.explainer, SummedExplainer):
        said["map_sum"] = math.fsum(store.recall(key_of("mapped", region)) for region in regions)
    return said


class _Passes:
    """Over one slide, for the runs of some targets."""

    def __init__(self, run: Run, network: Network, runs: tuple[Run, ...]) -> None:
        self._run, self._network, self._runs = run, network, runs
        self._stores = [one.config.store for one in runs]
        self._questions = [one.config.explainer.params.question for one in runs]
        tiling = run.plan.tiling
        self._pixels: Cut = partial(pixel_shares, network, tiling)
        cuts = [partial(cut, network, tiling) for cut in cuts_for(run.config.explainer)]
        self._pooling: Cut = cuts[0]
        self._surveying: Cut = cuts[-2]  # of a method that surveys
        self._mapping: Cut = cuts[-1]

    def means(self) -> Tensor | None:
        """Over all pixels, of what other images are made of [1, …]."""
        explainer = self._run.config.explainer
        survey = explainer.survey() if isinstance(explainer, ComparingExplainer) else None
        if survey is None:
            return None

        def surveyed(shares: tuple[Share, ...], batch: Batch) -> Sums:
            with named_failures(explainer, batch):
                return [survey(batch.pixels).double()]

        (total,) = sums_of_all(self._run, self._network, Common("pixels", self._stores), self._pixels, surveyed)
        tiling = self._run.plan.tiling
        return (total[None] / (tiling.height * tiling.width)).to(self._run.model.device)

    def pooled(self, means: Tensor | None) -> Pooled:
        """What the poolings are of the whole image, and of the others."""
        run, pools = self._run, self._network.pools

        def of_batch(shares: tuple[Share, ...], batch: Batch) -> Sums:
            images = images_of(run, batch, means)
            return [part for pixels in images for part in pool_sums(run.model, pools, shares[0].own, pixels)]

        sums = sums_of_all(run, self._network, Common("pooled", self._stores), self._pooling, of_batch)
        return Pooled(run, self._network, sums, means)

    def meet_head(self, pooled: Pooled) -> None:
        """See what the model says of the whole."""
        share = first_share(self._network, self._run.plan.tiling)
        batch = on_device(load(self._run, (share.tile,)), self._run.model.device)
        each = pooled.said((share,), batch, self._questions)
        for store, said in zip(self._stores, each, strict=True):
            store.remember("explained", said)

    def fitted(self, pooled: Pooled) -> dict[Run, Tensor]:
        """What a method learns from sums over the whole image, for each target."""
        explainer = self._run.config.explainer
        assert isinstance(explainer, FittedExplainer)
        layer = self._network.layer
        assert layer is not None

        def surveyed(shares: tuple[Share, ...], batch: Batch) -> Sums:
            share = pooled.shared(shares, batch)
            with named_failures(explainer, batch):
                return [own.double() for own in explainer.survey_each(share, share.model, self._questions)]

        totals = sums_of_all(self._run, self._network, OneEach("surveyed", self._stores), self._surveying, surveyed)
        cells = layer[0].count * layer[1].count
        with named_failures(explainer, None):
            dtype, device = self._run.model.dtype, self._run.model.device
            return {
                run: explainer.fit(total[None], cells).to(device, dtype)
                for run, total in zip(self._runs, totals, strict=True)
            }

    def make_maps(self, wanted: Sequence[tuple[Region, Run]], pooled: Pooled, fitted: Mapping[Run, Tensor]) -> None:
        runs: dict[Region, list[Run]] = {}
        for region, run in wanted:
            runs.setdefault(region, []).append(run)
        canvases: dict[Run, Canvas] = {}
        doubts: list[Doubt] = []
        with ThreadPoolExecutor(1, "write") as writer:
            commits = {run: Commits(run, writer) for run in self._runs}
            for region, shares, batch, is_last in read_shares(self._run, self._network, list(runs), self._mapping):
                canvases = canvases or {run: canvas_for(run, region) for run in runs[region]}
                if batch is not None:
                    own = tuple(fitted[run] for run in canvases if run in fitted)
                    with listening() as heard:
                        self._paint(canvases, shares, pooled.shared(shares, batch, own))
                    doubts += heard.doubts
                    self._run.note(heard.remarks)
                if is_last:
                    for run, canvas in canvases.items():
                        _commit(run, commits[run], region, canvas.finished(), of_doubts(doubts, ()) if doubts else None)
                    canvases, doubts = {}, []
            for waiting in commits.values():
                waiting.finish()

    def _paint(self, canvases: Mapping[Run, Canvas], shares: tuple[Share, ...], batch: ShareBatch) -> None:
        done = 0
        for each in in_parts(self._run, batch, lambda part: explained_for(list(canvases), part)):
            some = shares[done : done + len(each[0])]
            for canvas, explanation in zip(canvases.values(), each, strict=True):
                canvas.add(some, explanation)
            done += len(some)


def _commit(run: Run, commits: Commits, region: Region, values: Pixels, said: Diagnostics | None) -> None:
    status = np.full((1, *values.shape[1:]), EXPLAINED, np.uint8)
    run.config.store.remember(key_of("mapped", region), float(values.sum(dtype=np.float64)))
    commits.submit(region, {run.plan.layout.arrays[0].name: values, STATUS: status}, said=said)
