"""The passes of an exact run.

First the image is streamed once, and what goes into the global poolings is added up; then the head is known, and with
it what each cell counts for. A method that needs sums over the image has a pass for them. In the last pass every
region's map is made. Sums are kept region by region, so that a resumed run does not begin anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from xaipipe.errors import InputError
from xaipipe.models.whole import WholeImage, pool_sums
from xaipipe.running.checks import named_failures
from xaipipe.running.commits import Commits, any_needed
from xaipipe.running.device import arriving, on_device
from xaipipe.running.exact.canvas import Canvas, canvas_for
from xaipipe.running.exact.network import Network
from xaipipe.running.exact.shares import Share, batches, contributing_shares, first_share, map_shares, pooling_shares
from xaipipe.running.in_parts import in_parts
from xaipipe.running.layout import EXPLAINED, STATUS
from xaipipe.running.quarantine import reason_to_leave_out
from xaipipe.running.run import Run
from xaipipe.running.threads import overlapped, reading
from xaipipe.shares import FittedExplainer, ShareBatch
from xaipipe.types import Batch, Region, Tile

Cut = Callable[[Region], Iterator[Share]]
"""How a pass divides a region."""
Sums = list[Tensor]
"""In float64, one for each pooling or for whatever a method surveys."""
Read = tuple[Region, tuple[Share, ...], "Batch | None", bool]
"""Some shares of a region, their pixels, and whether they are its last; none for a region without any."""


def explain_exactly(run: Run, network: Network) -> None:
    """Every region's raw map, as the whole image gives it."""
    raw = run.plan.layout.arrays[0].name
    wanted = [planned.region for planned in run.plan.regions if any_needed(run, (raw, STATUS), planned.region)]
    if not wanted:
        run.explained = run.config.store.recall("explained") or {}
        return
    passes = _Passes(run, network)
    passes.meet_head()
    fitted = passes.fitted() if isinstance(run.config.explainer, FittedExplainer) else None
    passes.make_maps(wanted, fitted)


class _Passes:
    def __init__(self, run: Run, network: Network) -> None:
        self._run, self._network = run, network
        tiling = run.plan.tiling
        self._pooling: Cut = partial(pooling_shares, network, tiling)
        self._mapping: Cut = partial(contributing_shares if network.layer is None else map_shares, network, tiling)
        self._totals: Sums = []

    def meet_head(self) -> None:
        """Stream the image for its poolings, and see what the model says of the whole."""

        def pooled(shares: tuple[Share, ...], batch: Batch) -> Sums:
            return pool_sums(self._run.model, self._network.pools, shares[0].own, batch.pixels)

        self._totals = self._sums_of_all("pooled", pooled)
        share = first_share(self._network, self._run.plan.tiling)
        batch = on_device(self._load((share.tile,)), self._run.model.device)
        with torch.no_grad(), named_failures(self._run.config.explainer, batch):
            model = self._model((share,))
            chosen = model.score(batch.pixels, self._run.config.explainer.params.question)
        said = {"target": model.label(chosen.targets[0]), "score": float(chosen.scores[0])}
        self._run.explained = said
        self._run.config.store.remember("explained", said)

    def fitted(self) -> Tensor:
        """What a method learns from sums over the whole image."""
        explainer = self._run.config.explainer
        assert isinstance(explainer, FittedExplainer)
        layer = self._network.layer
        assert layer is not None

        def surveyed(shares: tuple[Share, ...], batch: Batch) -> Sums:
            with named_failures(explainer, batch):
                return [explainer.survey(self._shared(shares, batch), self._model(shares)).double()]

        (total,) = self._sums_of_all("surveyed", surveyed)
        with named_failures(explainer, None):
            dtype, device = self._run.model.dtype, self._run.model.device
            return explainer.fit(total[None], layer[0].count * layer[1].count).to(device, dtype)

    def make_maps(self, regions: Sequence[Region], fitted: Tensor | None) -> None:
        raw = self._run.plan.layout.arrays[0].name
        canvas: Canvas | None = None
        with ThreadPoolExecutor(1, "write") as writer:
            commits = Commits(self._run, writer)
            for region, shares, batch, is_last in self._read(regions, self._mapping):
                canvas = canvas or canvas_for(self._run, region)
                if batch is not None:
                    self._paint(canvas, shares, self._shared(shares, batch, fitted))
                if is_last:
                    values = canvas.finished()
                    status = np.full((1, *values.shape[1:]), EXPLAINED, np.uint8)
                    commits.submit(region, {raw: values, STATUS: status})
                    canvas = None
            commits.finish()

    def _paint(self, canvas: Canvas, shares: tuple[Share, ...], batch: ShareBatch) -> None:
        done = 0
        for explanation in in_parts(self._run, batch, lambda part: self._run.stage(self._run.config.explainer, part)):
            canvas.add(shares[done : done + len(explanation)], explanation)
            done += len(explanation)

    def _sums_of_all(self, name: str, of_batch: Callable[[tuple[Share, ...], Batch], Sums]) -> Sums:
        """Sums over all regions, in their order; those that an earlier run kept are not computed again."""
        store = self._run.config.store
        regions = [planned.region for planned in self._run.plan.regions]
        missing = [region for region in regions if store.recall(_key(name, region)) is None]
        sums: Sums = []
        for region, shares, batch, is_last in self._read(missing, self._pooling):
            if batch is not None:
                for parts in in_parts(self._run, batch, partial(of_batch, shares)):
                    sums = _added(sums, [part.sum(dim=0).cpu() for part in parts])
            if is_last:
                store.remember(_key(name, region), [part.tolist() for part in sums])
                sums = []
        total: Sums = []
        for region in regions:
            total = _added(
                total, [torch.tensor(part, dtype=torch.float64) for part in store.recall(_key(name, region))]
            )
        return total

    def _read(self, regions: Sequence[Region], cut: Cut) -> Iterator[Read]:
        run = self._run
        tile = first_share(self._network, run.plan.tiling).tile
        pixels = run.batch * tile.h * tile.w

        def work() -> Iterator[tuple[Region, tuple[Share, ...], bool]]:
            for region in regions:
                parts = list(batches(cut(region), pixels)) or [()]
                yield from ((region, shares, number == len(parts)) for number, shares in enumerate(parts, start=1))

        def read(item: tuple[Region, tuple[Share, ...], bool]) -> Read:
            region, shares, is_last = item
            tiles = tuple(share.tile for share in shares)
            return region, shares, self._load(tiles) if tiles else None, is_last

        with reading(run, "read") as readers:
            found = overlapped(readers, read, work(), run.plan.memory.sizes.ahead)
            yield from arriving(found, run.model.device, _with_batch)

    def _load(self, tiles: tuple[Tile, ...]) -> Batch:
        try:
            batch: Batch = self._run.stage(self._run.config.loader, tiles)
        except InputError as error:
            raise InputError(
                "a part of the slide is unreadable, which an exact run cannot leave out",
                got=reason_to_leave_out(error),
                where=error.facts["where"],
                hint='set [run] mode = "approximate"',
            ) from error
        return batch

    def _model(self, shares: tuple[Share, ...]) -> WholeImage:
        network = self._network
        return WholeImage.of_share(self._run.model, network.pools, self._totals, network.counts, shares[0].own)

    def _shared(self, shares: tuple[Share, ...], batch: Batch, fitted: Tensor | None = None) -> ShareBatch:
        return ShareBatch(
            tiles=batch.tiles, pixels=batch.pixels, valid=batch.valid, model=self._model(shares), fitted=fitted
        )


def _with_batch(item: Read, change: Callable[[Batch], Batch]) -> Read:
    region, shares, batch, is_last = item
    return region, shares, None if batch is None else change(batch), is_last


def _added(total: Sums, part: Sums) -> Sums:
    if not total or not part:
        return total or part
    return [a + b for a, b in zip(total, part, strict=True)]


def _key(name: str, region: Region) -> str:
    return f"{name} {region.row} {region.column}"
