"""Overlapping work: in order, bounded, and an error ends it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import xaipipe
from tests.running.slides import RedFinder, dotted, tables, write_tiled
from xaipipe.hookspecs import hookimpl
from xaipipe.running.threads import overlapped


def test_results_come_in_order_and_never_far_ahead() -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        return item * item

    taken = []
    with ThreadPoolExecutor(2) as pool:
        for result in overlapped(pool, work, range(50), ahead=3):
            taken.append(result)
            assert len(started) <= len(taken) + 4
    assert taken == [n * n for n in range(50)]


def test_an_error_surfaces_and_stops_the_rest() -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        if item == 5:
            raise ValueError("five")
        return item

    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="five"):
        list(overlapped(pool, work, range(1000), ahead=2))
    assert len(started) < 12


class StageThreads:
    """Notes which thread ran which kind of stage."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}

    @hookimpl(wrapper=True)
    def run_stage(self, stage, item, run):
        self.seen.setdefault(stage.kind, set()).add(threading.current_thread().name.split("_")[0])
        return (yield)


def test_reading_explaining_and_writing_run_in_threads_of_their_own(tmp_path: Path) -> None:
    slide = write_tiled(tmp_path / "s.tif", dotted(300, 300, [(50, 50), (200, 220)]))
    pipeline = xaipipe.Pipeline(tables(), model=RedFinder())
    run = pipeline.prepare(slide)
    threads = StageThreads()
    pipeline.registry.hooks.register(threads)
    with pipeline.claimed(tmp_path / "out.zarr"):
        pipeline.execute(run)
    assert threads.seen == {"load": {"read"}, "explain": {"MainThread"}, "store": {"write", "pyramid"}}


def test_a_slide_that_breaks_while_it_is_read_loses_the_broken_tiles(tmp_path: Path) -> None:
    """The header is whole, a tile in the middle is not."""
    path = write_tiled(tmp_path / "s.tif", np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8))
    pipeline = xaipipe.Pipeline(tables(run={"isolate": False}), model=RedFinder())
    run = pipeline.prepare(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(data)
    with pipeline.claimed(tmp_path / "out.zarr"):
        summary = pipeline.execute(run)
    assert 1 <= len(summary.unreadable) <= 4
    assert all("a tile of the slide cannot be decoded: " in one.reason for one in summary.unreadable)
