"""Memory is planned, and where a plan was wrong batches are divided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import Tensor, nn

import xaipipe
from tests.running.networks import LOCAL, made
from tests.running.slides import RedFinder, dotted, tables, write_tiled
from xaipipe.running.budget import Costs, Memory, Sizes, device_limit, fitted, host_limit, need, parse_bytes
from xaipipe.running.footprint import available, held, measured

MIB = 1 << 20
COSTS = Costs(held=100, step=50, step_on_device=0, waiting=5, maps=40, deriving=100)
WANTED = Sizes(batch=8, ahead=3, derivers=2)


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_tiled(tmp_path / "dots.tif", dotted(200, 260, [(40, 60), (130, 126), (191, 230)]))


class Narrow(nn.Module):
    """Runs a model on a few images at a time, and says that it has no memory for more."""

    def __init__(self, model: nn.Module, most: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.model, self.most, self._error = model, most, error
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise self._error("CUDA out of memory. Tried to allocate 20.00 GiB; DefaultCPUAllocator: not enough memory")
        self.sizes.append(len(x))
        return self.model(x)


def heat(output: Path) -> np.ndarray:
    return zarr.open_group(output, mode="r")["heatmap/0"][:]


# -- planning -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"), [("6GiB", 6 << 30), ("1.5 MiB", 3 << 19), (" 512 B ", 512), (4096, 4096), ("2TiB", 2 << 40)]
)
def test_sizes_are_read(text: Any, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["6 GB", "lots", "-1GiB", "1e3MiB", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(xaipipe.UsageError, match="budget"):
        xaipipe.Pipeline(tables(run={"budget": text}), model=RedFinder())


def test_what_fits_is_left_as_it_was_wanted() -> None:
    assert need(COSTS, WANTED) == 100 + max(8 * (50 + 5 * 5) + 40, 2 * 100) == 740
    assert fitted(COSTS, WANTED, 740, None) == Memory(WANTED, 740, 740)
    assert fitted(COSTS, WANTED, None, None).sizes == WANTED


def test_a_smaller_budget_makes_smaller_sizes_and_keeps_to_it() -> None:
    seen = set()
    for limit in range(205, 740):
        memory = fitted(COSTS, WANTED, limit, None)
        assert memory.expected == need(COSTS, memory.sizes) <= limit
        seen.add(memory.sizes)
    assert {sizes.batch for sizes in seen} == {1, 2, 4, 8}
    assert {sizes.ahead for sizes in seen} == {1, 2}
    assert {sizes.derivers for sizes in seen} == {1, 2}


def test_a_larger_budget_never_makes_smaller_batches() -> None:
    batches = [fitted(COSTS, WANTED, limit, None).sizes.batch for limit in range(205, 800)]
    assert batches == sorted(batches)


def test_a_budget_that_nothing_fits_is_refused_with_what_is_needed() -> None:
    costs = Costs(held=100 * MIB, step=50 * MIB, step_on_device=0, waiting=5 * MIB, maps=40 * MIB, deriving=200 * MIB)
    with pytest.raises(xaipipe.UsageError, match=r"budget is too small[\s\S]*250 MiB[\s\S]*at least 300 MiB"):
        fitted(costs, WANTED, 250 * MIB, None)


def test_the_gpus_memory_bounds_the_batch() -> None:
    costs = Costs(held=100, step=1, step_on_device=30, waiting=5, maps=40, deriving=0)
    assert fitted(costs, WANTED, None, 100).sizes.batch == 3
    assert fitted(costs, WANTED, None, 10).sizes.batch == 1


def test_limits_are_what_was_given_or_most_of_what_is_free() -> None:
    assert host_limit(500, 100, 1000) == 500
    assert host_limit(None, 100, 1000) == 900
    assert host_limit(None, 100, None) is None
    assert device_limit(None, 1000) == 800
    assert device_limit(2000, 1000) == 1000
    assert device_limit(500, 1000) == 500
    assert device_limit(None, None) is None


def test_memory_of_a_function_is_measured() -> None:
    def work() -> int:
        return len(torch.ones(64 * MIB, dtype=torch.uint8))

    result, footprint = measured(torch.device("cpu"), work)
    assert result == 64 * MIB
    assert 60 * MIB <= footprint.host <= 200 * MIB
    assert footprint.device == 0
    assert held() > 100 * MIB
    free = available()
    assert free is not None
    assert free > 100 * MIB


def test_a_run_beyond_its_budget_is_refused_before_it_begins(slide: Path, tmp_path: Path) -> None:
    pipeline = xaipipe.Pipeline(tables(run={"budget": "50MiB"}), model=RedFinder())
    with pytest.raises(xaipipe.UsageError, match="memory budget is too small"):
        pipeline.run(slide, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_the_plan_says_what_memory_it_will_take(slide: Path) -> None:
    run = xaipipe.Pipeline(tables(run={"budget": "64GiB"}), model=RedFinder()).prepare(slide)
    run.plan.tiling.slide.close()
    memory = run.plan.memory
    assert (memory.sizes.batch, memory.limit) == (4, 64 << 30)
    assert held() / 2 < memory.expected < 4 << 30


# -- when it was not enough -----------------------------------------------------------------------


@pytest.mark.parametrize("most", [3, 1])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_a_batch_that_does_not_fit_is_halved(slide: Path, tmp_path: Path, most: int, error: type[Exception]) -> None:
    xaipipe.Pipeline(tables(), model=RedFinder()).run(slide, tmp_path / "all.zarr")
    model = Narrow(RedFinder(), most, error)
    explain = {"layer": "model.activate"}
    summary = xaipipe.Pipeline(tables(explain=explain), model=model).run(slide, tmp_path / "narrow.zarr")
    np.testing.assert_allclose(heat(tmp_path / "narrow.zarr"), heat(tmp_path / "all.zarr"), rtol=1e-6)
    assert max(model.sizes) == min(2, most)
    assert any("did not fit into the memory of cpu" in note for note in summary.notes)


def test_the_size_that_fits_is_remembered(slide: Path, tmp_path: Path) -> None:
    model = Narrow(RedFinder(), 2)
    explain = {"layer": "model.activate"}
    summary = xaipipe.Pipeline(tables(explain=explain), model=model).run(slide, tmp_path / "out.zarr")
    assert len([note for note in summary.notes if "did not fit" in note]) == 1


def test_an_exact_run_halves_too(slide: Path, tmp_path: Path) -> None:
    settings = {
        "preprocess": {"size": 64, "mean": [0, 0, 0], "std": [1, 1, 1]},
        "load": {"tile": 48},
        "explain": {"method": "gradcam", "layer": "model.body", "target": 1, "signed": True},
        "run": {"mode": "exact"},
    }
    for most in (1, 99):
        model = Narrow(made(LOCAL["strided"]), most)
        xaipipe.Pipeline(settings, model=model).run(slide, tmp_path / f"{most}.zarr")
        assert max(model.sizes) == 1 if most == 1 else max(model.sizes) > 2
    np.testing.assert_allclose(heat(tmp_path / "1.zarr"), heat(tmp_path / "99.zarr"), rtol=0, atol=1e-15)


def test_a_single_tile_that_does_not_fit_is_said_to(slide: Path, tmp_path: Path) -> None:
    model = Narrow(RedFinder(), 99)
    pipeline = xaipipe.Pipeline(tables(explain={"layer": "model.activate"}), model=model)
    with pipeline.claimed(tmp_path / "out.zarr"):
        run = pipeline.prepare(slide)
        model.most = 0
        with pytest.raises(xaipipe.InputError, match=r"a single tile does not fit into memory[\s\S]*level 0"):
            pipeline.execute(run)


def test_a_resumed_run_goes_on_with_the_batches_it_was_begun_with(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sizes_of(run_batches: list[int], **options: Any) -> None:
        model = Narrow(RedFinder(), 99)
        pipeline = xaipipe.Pipeline(tables(explain={"layer": "model.activate"}), model=model)
        pipeline.run(slide, tmp_path / "out.zarr", **options)
        run_batches.extend(model.sizes)

    first: list[int] = []
    sizes_of(first)
    assert max(first) == 4
    for shard in (tmp_path / "out.zarr" / "heatmap" / "0" / "c").rglob("0"):
        if shard.is_file():
            shard.unlink()
    monkeypatch.setattr("xaipipe.running.probing.host_limit", lambda given, own, free: own + 170 * MIB * 2 + 2 * MIB)
    again: list[int] = []
    sizes_of(again, resume=True)
    assert max(again) == 4
