"""What a loader says of the whole slide: kept where it fits, refused by name where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

import xaipipe
from tests.running.slides import RedFinder, dotted, tables, write_tiled
from xaipipe import Batch, BoundaryError, Grid, LabelImage, Loader, Preprocess, Slide, Tile, hookimpl
from xaipipe.registry import Registry

MASK = LabelImage(
    "zones", np.array([[0, 1], [1, 0]], np.uint8), ("left out", "taken"), Grid((64.0, 64.0), (31.5, 31.5))
)


class Zones(Loader):
    """A plain loader that answers what a test says."""

    name = "zones"
    answers: dict[str, Any] = {}  # noqa: RUF012 - set by each test

    def fit(self, slide: Slide, level: int) -> tuple[str, int]:
        return self.answers.get("fit", lambda: (slide.name, level))()

    def load(self, tiles: tuple[Tile, ...], preprocess: Preprocess, fitted: Any) -> Batch:
        assert fitted == ("s.tif", 0)
        pixels = [preprocess.normalise(tile.slide.read(0, tile.y, tile.x, tile.h, tile.w)) for tile in tiles]
        return Batch(tiles, torch.stack(pixels), torch.ones(len(tiles), *pixels[0].shape[1:], dtype=torch.bool))

    def background(self, tiles: tuple[Tile, ...], fitted: Any) -> tuple[str | None, ...]:
        return self.answers.get("background", lambda tiles: tuple("empty" if t.y == t.x else None for t in tiles))(
            tiles
        )

    def masks(self, fitted: Any) -> tuple[LabelImage, ...]:
        return self.answers.get("masks", (MASK,))

    def findings(self, fitted: Any) -> dict[str, dict[str, Any]]:
        return {"zones": {"first": 0.5, "of": [1, 2]}}


class Plugin:
    @hookimpl
    def xaipipe_methods(self) -> list[type[Loader]]:
        return [Zones]


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **answers: Any) -> zarr.Group:
    monkeypatch.setattr(Zones, "answers", answers)
    registry = Registry()
    registry._register(Plugin(), "zoning")
    slide = write_tiled(tmp_path / "s.tif", dotted(128, 128, [(40, 80)]))
    settings = tables() | {"load": {"method": "zones", "tile": 64}}
    xaipipe.Pipeline(settings, model=RedFinder(), registry=registry).run(slide, tmp_path / "out.zarr")
    return zarr.open_group(tmp_path / "out.zarr", mode="r")


def test_all_that_it_says_is_in_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = run(tmp_path, monkeypatch)
    np.testing.assert_array_equal(root["heatmap/labels/zones/0"][:], MASK.labels)
    manifest = root.attrs["xaipipe"]
    assert manifest["tiles"]["background"] == {"empty": 2}
    assert manifest["findings"]["zones"] == {"first": 0.5, "of": [1, 2]}
    assert np.isnan(root["heatmap/0"][0, :16, :16]).all()


def fails() -> Any:
    raise ZeroDivisionError("nothing to divide by")


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"fit": fails}, "nothing to divide by"),
        ({"background": lambda tiles: (None,)}, "the wrong number of tiles"),
        ({"masks": (MASK, MASK)}, "whose name is taken"),
        ({"masks": (LabelImage("heatmap", MASK.labels, MASK.classes, MASK.grid),)}, "whose name is taken"),
        ({"masks": (LabelImage("a", MASK.labels + 1, MASK.classes, MASK.grid),)}, "a value that has no name"),
        ({"masks": (LabelImage("a", MASK.labels.astype(int), MASK.classes, MASK.grid),)}, "of the wrong kind"),
        ({"masks": (LabelImage("a", MASK.labels[0], MASK.classes, MASK.grid),)}, "of the wrong kind"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any], says: str
) -> None:
    with pytest.raises(BoundaryError) as caught:
        run(tmp_path, monkeypatch, **answers)
    assert says in str(caught.value)
    assert "load method 'zones'" in str(caught.value)
