"""Plugins that fail while they work: who it was is said, and what can go on goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import zarr
from torch import nn

from tests.running.slides import RedFinder, dotted, tables, write_tiled
from xaipipe import Batch, BoundaryError, Explainer, Explanation, Grid, InputError, Model, Pipeline, explain, hookimpl
from xaipipe.api import explain_with
from xaipipe.registry import Registry


class Shuffled(Explainer):
    """Maps with their tiles in another order: each would land in another's place."""

    name = "shuffled"

    def explain(self, batch: Batch, model: Model) -> Explanation:
        n, _, h, w = batch.pixels.shape
        values, scores = torch.zeros(n, 1, h, w), torch.zeros(n)
        return Explanation(values, Grid(), (0,) * n, scores, (h, w), tiles=batch.tiles[::-1])


class Dividing(Shuffled):
    name = "dividing"

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return replace(super().explain(batch, model), scores=torch.zeros(1 // 0))


class Wild(Shuffled):
    """Returns what `change` says."""

    name = "wild"
    change: dict = {}  # noqa: RUF012 - set by each test

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return super().explain(batch, model).replace(**{"tiles": batch.tiles, **self.change})


class Plugin:
    @hookimpl
    def xaipipe_methods(self):
        return [Shuffled, Dividing, Wild]


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_tiled(tmp_path / "s.tif", dotted(128, 128, [(40, 40)]))


def registry() -> Registry:
    made = Registry()
    made._register(Plugin(), "failing")
    return made


def run(slide: Path, output: Path, method: str) -> None:
    settings = tables() | {"explain": {"method": method}}
    Pipeline(settings, model=RedFinder(), registry=registry()).run(slide, output)


def test_maps_whose_tiles_are_in_another_order_are_refused(slide: Path, tmp_path: Path) -> None:
    with pytest.raises(BoundaryError, match="explain method 'shuffled' returned other tiles than it was given"):
        run(slide, tmp_path / "out.zarr", "shuffled")


def test_a_stage_that_raises_is_named_with_its_tile(slide: Path, tmp_path: Path) -> None:
    with pytest.raises(BoundaryError, match="explain method 'dividing' failed") as caught:
        run(slide, tmp_path / "out.zarr", "dividing")
    assert "ZeroDivisionError" in str(caught.value)
    assert "s.tif level 0 y=0 x=0" in str(caught.value)


def test_from_python_too() -> None:
    with pytest.raises(BoundaryError, match="'dividing' failed"):
        explain_with(registry(), RedFinder(), torch.rand(1, 3, 16, 16), "dividing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [0.0]}, "returned scores of the wrong type"),
        ({"values": torch.zeros(1, 1, 16, 16).numpy()}, "returned values of the wrong type"),
        ({"grid": None}, "returned a grid of the wrong type"),
        ({"targets": 5}, "returned targets of the wrong type"),
        ({"scores": torch.tensor([float("nan")])}, "returned scores that are not finite"),
        ({"scores": torch.tensor([1])}, "returned scores of the wrong type"),
    ],
)
def test_parts_of_the_wrong_kind_are_named(
    change: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wild, "change", change)
    with pytest.raises(BoundaryError, match=message):
        explain_with(registry(), RedFinder(), torch.rand(1, 3, 16, 16), "wild")


@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_a_model_that_fails_on_its_input_is_worded_by_every_method(method: str) -> None:
    with pytest.raises(InputError, match="the model failed on its input") as caught:
        explain(RedFinder(), torch.rand(1, 5, 16, 16), method=method)
    assert "(1, 5, 16, 16)" in str(caught.value)


class BadReporter:
    @hookimpl
    def report_header(self, run):
        raise RuntimeError("no header")

    @hookimpl
    def provenance(self, run):
        raise RuntimeError("no facts")

    @hookimpl
    def run_finished(self, run, summary):
        raise RuntimeError("no end")


class GoodReporter:
    @hookimpl
    def provenance(self, run):
        return {"laboratory": "ours"}


def test_a_hook_that_fails_at_the_end_loses_neither_the_run_nor_the_others_facts(slide: Path, tmp_path: Path) -> None:
    made = Registry()
    made.hooks.register(BadReporter(), name="bad")
    made.hooks.register(GoodReporter(), name="good")
    Pipeline(tables(), model=RedFinder(), registry=made).run(slide, tmp_path / "out.zarr")
    manifest = zarr.open_group(tmp_path / "out.zarr", mode="r").attrs["xaipipe"]
    assert manifest["laboratory"] == "ours"
    assert manifest["complete"]


@pytest.mark.parametrize("name", ["local", "checks", "timing"])
def test_a_plugin_cannot_take_the_cores_place_by_its_name(slide: Path, tmp_path: Path, name: str) -> None:
    made = Registry()
    made.hooks.register(GoodReporter(), name=name)
    summary = Pipeline(tables(), model=RedFinder(), registry=made).run(slide, tmp_path / "out.zarr")
    assert summary.tiles == 4


class Drifting(Explainer):
    """Its maps change after the sample that the plan is made from."""

    name = "drifting"
    calls = 0
    later: dict = {}  # noqa: RUF012 - set by each test

    def explain(self, batch: Batch, model: Model) -> Explanation:
        type(self).calls += 1
        n, _, h, w = batch.pixels.shape
        made = Explanation(torch.zeros(n, 2, h, w), Grid(), (0,) * n, torch.zeros(n), (h, w), tiles=batch.tiles)
        if type(self).calls <= 2:
            return made
        return made.replace(**{name: change(made) for name, change in self.later.items()})


@pytest.mark.parametrize(
    "later",
    [
        {"grid": lambda made: Grid((1.0, 1.0), (5.0, 0.0))},
        {"values": lambda made: made.values[:, :1]},
        {"values": lambda made: made.values[:, :, 1:]},
    ],
)
def test_maps_that_change_after_the_sample_are_refused(
    slide: Path, tmp_path: Path, later: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drifting, "later", later)
    monkeypatch.setattr(Drifting, "calls", 0)
    made = registry()
    made._methods["explain", "drifting"] = (Drifting, "failing")
    pipeline = Pipeline(tables() | {"explain": {"method": "drifting"}}, model=RedFinder(), registry=made)
    with pytest.raises(BoundaryError, match="maps differ from those of the sample"):
        pipeline.run(slide, tmp_path / "out.zarr")


def test_threads_share_a_model_in_training_mode() -> None:
    """Nobody sees the mode of training, no running mean moves, and afterwards the mode is what it was."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    x = torch.rand(2, 3, 16, 16)
    expected = explain(net, x, method="saliency", target=1).values
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with ThreadPoolExecutor(4) as pool:
        maps = list(pool.map(lambda _: explain(net, x, method="saliency", target=1).values, range(80)))
    assert all(torch.equal(one, expected) for one in maps)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(part.training for part in net.modules())


@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_inference_mode_around_a_call_changes_nothing(method: str) -> None:
    x = torch.rand(1, 3, 16, 16)
    model = RedFinder()
    expected = explain(model, x, method=method, target=1).values
    with torch.inference_mode():
        assert torch.equal(explain(model, x + 0, method=method, target=1).values, expected)
