"""Tissue in a run: what is skipped, what the plan and the manifest say, and the mask in the result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import ImageLabel, Labels

import xaipipe
from tests.running.slides import RedFinder, tables, write_tiled
from tests.tiles.drawn import CELL, MPP, Drawing
from xaipipe import InputError, UsageError
from xaipipe_tiles.tiles import Tiles
from xaipipe_tiles.tissue import GLASS, PEN, TISSUE

LOAD = {"tile": 64, "tissue": "auto", "tissue_share": 0.2}


def drawing() -> Drawing:
    """384 × 512: glass, then tissue from column 128 on, a blue stroke from column 384 on."""
    made = Drawing(384, 512)
    made.stain(made.x >= 128, {"eosin": 0.6})
    made.stain((made.x >= 128) & (made.x % 8 < 3), {"haematoxylin": 0.8})
    made.mark(made.x >= 384, "blue")
    return made


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_tiled(tmp_path / "slide.tif", drawing().pixels(), MPP)


def run(slide: Path, output: Path, resume: bool = False, **changes: Any) -> zarr.Group:
    settings = tables(**{"load": LOAD, **changes})
    xaipipe.Pipeline(settings, model=RedFinder()).run(slide, output, resume=resume)
    return zarr.open_group(output, mode="r")


def test_the_mask_is_kept_where_it_lies(slide: Path, tmp_path: Path) -> None:
    segment = [{"method": "threshold"}]
    root = run(slide, tmp_path / "out.zarr", segment=segment, preprocess={"mpp": MPP})
    labels = root["heatmap/labels"]
    assert list(Labels.from_zarr(labels).ome_attributes.labels) == ["segmentation", "status", "tissue"]
    described = ImageLabel.from_zarr(labels["tissue"]).ome_attributes
    names = [one.model_extra["name"] for one in described.image_label.properties]
    assert names == ["glass", "tissue", "pen", "out of focus"]
    scale, translation = described.multiscales[0].datasets[0].coordinateTransformations
    assert scale.scale == [CELL * MPP] * 2
    assert translation.translation == [(CELL - 1) / 2 * MPP] * 2
    values = labels["tissue/0"][:]
    assert values.shape == (384 // CELL, 512 // CELL)
    columns = [(0, GLASS), (30, GLASS), (34, TISSUE), (90, TISSUE), (100, PEN), (127, PEN)]
    assert all((values[:, column] == kind).all() for column, kind in columns)


def test_skipped_tiles_have_no_values_and_the_manifest_says_what_they_are(slide: Path, tmp_path: Path) -> None:
    root = run(slide, tmp_path / "out.zarr")
    values = root["heatmap/0"][0]
    assert np.isfinite(values[:, 128 // 4 : 384 // 4]).all()
    assert np.isnan(values[:, : 128 // 4]).all()
    assert np.isnan(values[:, 384 // 4 :]).all()
    manifest = root.attrs["xaipipe"]
    assert manifest["tiles"]["background"] == {"glass": 12, "pen": 12}
    shares = manifest["findings"]["tissue"]
    assert (shares["glass"], shares["tissue"], shares["pen"]) == pytest.approx((0.25, 0.5, 0.25), abs=0.02)


def test_without_a_search_no_mask_is_kept(slide: Path, tmp_path: Path) -> None:
    root = run(slide, tmp_path / "out.zarr", load={"tissue": "off"})
    assert list(Labels.from_zarr(root["heatmap/labels"]).ome_attributes.labels) == ["status"]
    assert root.attrs["xaipipe"]["findings"] == {}
    assert not (tmp_path / "out.zarr" / "instances.csv").exists()


def test_a_mask_without_segmenters_brings_no_table_of_objects(slide: Path, tmp_path: Path) -> None:
    root = run(slide, tmp_path / "out.zarr")
    assert list(Labels.from_zarr(root["heatmap/labels"]).ome_attributes.labels) == ["status", "tissue"]
    assert not (tmp_path / "out.zarr" / "instances.csv").exists()


def test_a_slide_without_tissue_is_refused_with_what_it_is(tmp_path: Path) -> None:
    glass = write_tiled(tmp_path / "glass.tif", Drawing(128, 192).pixels(), MPP)
    for load in (LOAD, {**LOAD, "stain": "macenko"}):
        with pytest.raises(InputError, match="every tile is background") as caught:
            run(glass, tmp_path / "out.zarr", load=load)
        assert caught.value.facts["got"] == "6 glass"


def test_a_damaged_mask_is_put_back(slide: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.zarr"
    run(slide, output)
    (shard,) = (path for path in (output / "heatmap/labels/tissue/0/c").rglob("*") if path.is_file())
    before = shard.read_bytes()
    shard.write_bytes(before[:-8] + b"\0" * 8)
    run(slide, output, resume=True)
    assert shard.read_bytes() == before


def test_a_mask_that_is_another_is_kept_anew(slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a part of the slide could not be read at first."""
    output = tmp_path / "out.zarr"
    real = Tiles.masks

    def half(self: Tiles, fitted: Any) -> Any:
        (mask,) = real(self, fitted)
        labels = mask.labels.copy()
        labels[:20] = 0
        return (replace(mask, labels=labels),)

    monkeypatch.setattr(Tiles, "masks", half)
    run(slide, output)
    monkeypatch.setattr(Tiles, "masks", real)
    whole = run(slide, tmp_path / "whole.zarr")["heatmap/labels/tissue/0"][:]
    np.testing.assert_array_equal(run(slide, output, resume=True)["heatmap/labels/tissue/0"][:], whole)


@pytest.mark.parametrize("stain", ["macenko", "reinhard"])
def test_a_stain_is_part_of_what_a_run_is(slide: Path, tmp_path: Path, stain: str) -> None:
    plain = run(slide, tmp_path / "plain.zarr")
    stained = run(slide, tmp_path / "out.zarr", load={**LOAD, "stain": stain})
    assert stained.attrs["xaipipe"]["load"]["stain"]["method"] == stain
    assert not np.allclose(plain["heatmap/0"][:], stained["heatmap/0"][:], equal_nan=True, rtol=0.01)
    run(slide, tmp_path / "out.zarr", resume=True, load={**LOAD, "stain": stain})
    with pytest.raises(UsageError, match="another plan") as caught:
        run(slide, tmp_path / "out.zarr", resume=True)
    assert "load.stain" in str(caught.value)


def test_two_runs_find_the_same(slide: Path, tmp_path: Path) -> None:
    load = {**LOAD, "stain": "macenko", "tissue_by": "hed"}
    one, other = (run(slide, tmp_path / name, load=load) for name in ("a.zarr", "b.zarr"))
    assert one.attrs["xaipipe"] == other.attrs["xaipipe"]


def test_a_plan_says_what_is_skipped(slide: Path, run_file: Path, cli: Any) -> None:
    command = (
        "run",
        slide,
        "--config",
        run_file,
        "--trust",
        "--dry-run",
        "--set",
        "load.tissue_share=0.3",
        "--set",
        'load.stain="reinhard"',
    )
    said = cli(*command).out
    assert "96 background skipped (50%: 48 glass, 48 pen)" in said
    assert "tissue   glass 0.2" in said
    assert "method reinhard" in said
    facts = json.loads(cli("--json", *command).out)
    assert facts["background"] == {"glass": 48, "pen": 48}
    assert facts["findings"]["tissue"]["by"] == "saturation"
    assert len(facts["findings"]["stain"]["mean"]) == 3
