"""A real ImageNet model on a photograph and on a real slide. Skipped where the data is absent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest
import zarr

import xaipipe
from tests.standards import check_standards
from xaipipe.cli.main import main
from xaipipe.models.sources import ModelSettings, load_model
from xaipipe.slides import open_slide

DOG = (slice(16, 96), slice(64, 128))
CAT = (slice(96, 180), slice(40, 150))
"""Where they are in the picture at 192 × 192: (rows, columns)."""


@pytest.fixture(scope="module")
def model(data: Path) -> xaipipe.Model:
    settings = ModelSettings(
        source="models/mobilenets.py:mobilenet_v1",
        weights="models/mobilenet_v1_075_imagenet.safetensors",
        labels="models/imagenet_labels.txt",
    )
    model = load_model(settings, trust=True, base=data)
    return replace(model, preprocess=xaipipe.Preprocess(size=192, mean=(0, 0, 0), std=(1, 1, 1)))


@pytest.mark.parametrize(("label", "animal"), [("bull mastiff", DOG), ("tiger cat", CAT)])
def test_each_class_is_seen_on_its_animal(
    model: xaipipe.Model, data: Path, registry: xaipipe.Registry, label: str, animal: tuple[slice, slice]
) -> None:
    photograph = open_slide(registry, data / "images" / "both.png")
    level = photograph.levels[0]
    x = model.preprocess.normalise(model.preprocess.fit_photograph(photograph.read(0, 0, 0, level.height, level.width)))
    explanation = xaipipe.explain(model, x[None], method="gradcam", target=label)
    heat = explanation.to_input()[0, 0].numpy()
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    rows, columns = animal
    assert rows.start <= row < rows.stop
    assert columns.start <= column < columns.stop


def test_a_real_slide_runs_end_to_end(model: xaipipe.Model, data: Path, tmp_path: Path) -> None:
    tables = {
        "load": {"tile": 192, "overlap": 64},
        "explain": {"method": "gradcam", "target": "honeycomb"},
        "postprocess": [{"method": "smooth"}],
        "segment": [{"method": "threshold"}, {"method": "components"}],
        "store": {"shard": 1024, "image": "copy"},
    }
    slide = data / "slides" / "cmu-1-small-region.svs"
    summary = xaipipe.Pipeline(tables, model=model).run(slide, tmp_path / "out.zarr")
    root = zarr.open_group(tmp_path / "out.zarr", mode="r")
    assert check_standards(tmp_path / "out.zarr") == ["image", "raw", "heatmap", "heatmap_display"]
    values = root["heatmap/0"][:]
    assert summary.tiles > 0
    assert np.isfinite(values).any()
    assert np.nanmax(values) > 0
    pixels = root["image/0"][:, 1000:1064, 1000:1064]
    expected = open_slide(xaipipe.Registry(), slide)
    np.testing.assert_array_equal(np.moveaxis(pixels, 0, -1), expected.read(0, 1000, 1000, 64, 64))
    expected.close()
    assert main(["export", str(tmp_path / "out.zarr"), "--to", "qupath", "-o", str(tmp_path / "qp")]) == 0
    with openslide.OpenSlide(slide) as read, openslide.OpenSlide(tmp_path / "qp" / "heatmap-rgb.ome.tif") as heat:
        sides = [float(one.properties["openslide.mpp-x"]) * one.dimensions[0] for one in (read, heat)]
    assert sides[1] == pytest.approx(sides[0], rel=0.02)  # both cover the same micrometres
