"""Trying the explainer on a few tiles: what comes out, how long it takes, how much memory it wants."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from xaipipe.running.budget import READER, Costs, Memory, Sizes, device_limit, fitted, host_limit
from xaipipe.running.commits import COMMITS_IN_FLIGHT
from xaipipe.running.device import on_device
from xaipipe.running.footprint import Footprint, available, available_on, held, measured
from xaipipe.running.in_parts import in_parts
from xaipipe.running.layout import ArraySpec, Layout
from xaipipe.running.run import Run
from xaipipe.running.together import explained_for
from xaipipe.types import Batch, Explanation, Tile

_READING = 3
"""Times the pixels of a tile as the model wants them: as they are read, as numbers, and joined to a batch."""
_DERIVING_A_PIXEL = 48
"""Bytes of the second pass for a pixel with a label, as they were measured on smooth, threshold and components."""
_DERIVING_A_CELL = 24


@dataclass(frozen=True)
class Probe:
    """One tile explained."""

    explanations: tuple[Explanation, ...]
    """For each target."""
    footprint: Footprint
    waiting: int
    """Bytes of the tile while it waits."""

    @property
    def explanation(self) -> Explanation:
        """For the first target: those for others are of the same kind."""
        return self.explanations[0]


def explained(run: Run, batch: Batch) -> tuple[Explanation, ...]:
    """By the run's method, on the run's device, for each target."""
    return tuple(explained_for(run.every, on_device(batch, run.model.device)))


def probed(run: Run, tile: Tile) -> Probe:
    """A tile explained twice: first for everything that is only done once, then for its footprint."""
    batch: Batch = run.stage(run.config.loader, (tile,))
    explained(run, batch)
    explanations, footprint = measured(run.model.device, lambda: explained(run, batch))
    return Probe(explanations, footprint, _READING * batch.pixels.nbytes)


def timed(run: Run, sample: tuple[Tile, ...]) -> tuple[int, float]:
    """How many tiles of a sample fit at once, and the seconds that reading and explaining them takes."""
    started = time.perf_counter()
    batch: Batch = run.stage(run.config.loader, sample)
    for explanations in in_parts(run, batch, lambda part: explained(run, part)):
        return len(explanations[0]), time.perf_counter() - started
    raise AssertionError("a sample holds tiles")


def memory_of(run: Run, layout: Layout, probe: Probe, wanted: int) -> Memory:
    """The sizes that keep within the budget."""
    settings, device = run.config.run, run.model.device
    readers = settings.readers
    own = held()
    region = sum(_bytes(spec) for spec in layout.first_pass)
    costs = Costs(
        held=own + readers * READER,
        step=probe.footprint.host,
        step_on_device=probe.footprint.device,
        waiting=probe.waiting,
        maps=region * (COMMITS_IN_FLIGHT + 2) * len(run.every),
        deriving=_deriving(run, layout),
    )
    sizes = Sizes(batch=wanted, ahead=readers + 1, derivers=readers)
    free = available_on(device)
    limit = host_limit(settings.budget, own, available())
    return fitted(costs, sizes, limit, device_limit(settings.device_budget, free))


def _deriving(run: Run, layout: Layout) -> int:
    """What the second pass takes for one region."""
    labels = [spec for spec in layout.second_pass if spec.role == "labels"]
    pixels = sum(_DERIVING_A_PIXEL * _cells(spec) for spec in labels)
    later = run.config.postprocessors or run.config.segmenters
    return pixels + (_DERIVING_A_CELL * _cells(layout.arrays[0]) if later else 0)


def _cells(spec: ArraySpec) -> int:
    """Of one region."""
    return min(spec.shard, spec.height) * min(spec.shard, spec.width)


def _bytes(spec: ArraySpec) -> int:
    return _cells(spec) * len(spec.channels) * np.dtype(spec.dtype).itemsize
