"""Plugins that fail while they work: who it was is said, and what can go on goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import zarr

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
