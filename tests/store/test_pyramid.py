"""Pyramids: which levels there are, where they lie, what is in them, and what becomes of them when sources change."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.running.slides import RedFinder, dotted, tables, write_tiled
from tests.standards import check_standards
from tests.store.runs import content, pipeline
from xaipipe import Grid, Pipeline
from xaipipe.running.layout import ArraySpec
from xaipipe.running.manifest import record_of
from xaipipe.testing import MemorySlide
from xaipipe_store.origins import Origins
from xaipipe_store.pyramid import image_specs, reduced, source_regions
from xaipipe_store.reduction import RULES


def levels_of(group: zarr.Group) -> list[np.ndarray]:
    paths = [level["path"] for level in group.attrs["ome"]["multiscales"][0]["datasets"]]
    return [np.asarray(group[path]) for path in paths]


ROLES = {"image": "image", "raw": "heatmap", "heatmap": "heatmap", "heatmap/labels/segmentation": "labels"}


@pytest.mark.parametrize("name", ROLES)
def test_every_level_is_the_reduction_of_the_one_above_it(straight: Path, name: str) -> None:
    """As a whole, whatever shards it was made in."""
    levels = levels_of(zarr.open_group(straight, mode="r")[name])
    assert len(levels) == (1 if name == "raw" else 3)  # raw has neither labels nor more than a screenful
    for fine, coarse in pairwise(levels):
        block = fine if fine.ndim == 3 else fine[None]
        np.testing.assert_array_equal(np.squeeze(RULES[ROLES[name]](block)), np.squeeze(coarse))


@pytest.mark.parametrize("shard", [64, 192, 4096])
def test_levels_do_not_depend_on_shards(slide: Path, straight: Path, tmp_path: Path, shard: int) -> None:
    pipeline(store={"image": "copy", "smallest_level": 64, "shard": shard}).run(slide, tmp_path / "out.zarr")
    undivided, other = (zarr.open_group(path, mode="r") for path in (straight, tmp_path / "out.zarr"))
    for name in ("image", "heatmap/labels/segmentation"):
        for one, two in zip(levels_of(undivided[name]), levels_of(other[name]), strict=True):
            np.testing.assert_array_equal(one, two)


def test_the_display_copy_is_the_map_in_its_window(straight: Path) -> None:
    root = zarr.open_group(straight, mode="r")
    facts = root["heatmap_display"].attrs["xaipipe"]
    for values, shown in zip(levels_of(root["heatmap"]), levels_of(root["heatmap_display"]), strict=True):
        assert shown.dtype == np.uint8
        back = facts["low"] + (shown.astype(float) - 1) * (facts["high"] - facts["low"]) / 254
        inside = np.clip(values, facts["low"], facts["high"])
        np.testing.assert_allclose(back, inside, atol=(facts["high"] - facts["low"]) / 254 / 2 * 1.0001)
    window = root["heatmap"].attrs["ome"]["omero"]["channels"][0]["window"]
    assert (window["start"], window["end"]) == (facts["low"], facts["high"])


def test_what_was_not_explained_is_told_from_what_has_no_evidence(tmp_path: Path) -> None:
    pixels = np.full((256, 256, 3), 245, np.uint8)
    pixels[:120, :120] = dotted(120, 120, [(60, 60)]) - np.uint8([0, 60, 20])
    path = write_tiled(tmp_path / "s.tif", pixels)
    Pipeline(tables(load={"tissue": "auto"}), model=RedFinder()).run(path, tmp_path / "out.zarr")
    root = zarr.open_group(tmp_path / "out.zarr", mode="r")
    np.testing.assert_array_equal(root["heatmap_display/0"][:] == 0, np.isnan(root["heatmap/0"][:]))


@pytest.mark.parametrize("name", ROLES)
def test_a_cell_lies_amid_the_cells_that_it_covers(straight: Path, name: str) -> None:
    path = straight / name / "zarr.json"
    datasets = json.loads(path.read_text())["attributes"]["ome"]["multiscales"][0]["datasets"]
    for number, dataset in enumerate(datasets):
        scale, translation = (list(part.values())[1][-1] for part in dataset["coordinateTransformations"])
        if number == 0:
            finest, origin = scale, translation
        covered = origin + finest * np.arange(2**number)  # along x, of the first cell
        assert translation == pytest.approx(covered.mean(), abs=1e-12)
        assert scale == pytest.approx(finest * 2**number)


def test_every_store_with_pyramids_is_what_the_standard_says(straight: Path) -> None:
    check_standards(straight)


def with_levels(*downsamples: int, side: int = 6000) -> list[tuple[int, float, bool]]:
    """(side, pixels of level 0 that a pixel spans, whether the slide's own) of the copy of such a slide."""
    levels = [np.broadcast_to(np.zeros(3, np.uint8), (side // d, side // d, 3)) for d in downsamples]
    slide = MemorySlide(levels)
    return [(spec.height, spec.grid.scale[0], own) for spec, own in image_specs(slide, 1.0, 512)]


def test_a_slide_of_one_level_gets_all_others() -> None:
    assert with_levels(1) == [
        (6000, 1, True),
        (3000, 2, False),
        (1500, 4, False),
        (750, 8, False),
        (375, 16, False),
    ]


def test_gaps_between_levels_are_filled() -> None:
    assert with_levels(1, 4) == [(6000, 1, True), (3000, 2, False), (1500, 4, True), (750, 8, False), (375, 16, False)]
    assert [own for _, _, own in with_levels(1, 16)] == [True, False, False, False, True]


def test_a_pyramid_without_gaps_is_only_copied() -> None:
    assert [own for _, _, own in with_levels(1, 2, 4, 8, 16)] == [True] * 5


def test_steps_are_about_two_where_a_slides_are_not_powers_of_it() -> None:
    assert [(span, own) for _, span, own in with_levels(1, 3, 12)] == [
        (1, True),
        (2, False),
        (3, True),
        (6, False),
        (12, True),
    ]


def test_a_level_is_made_a_few_rows_at_a_time() -> None:
    """Whatever the size of shards, no more is read at once than twice the rows asked for, in four shards' width."""
    source = ArraySpec("heatmap", "heatmap", ("a",), 1000, 900, Grid(), 256, "float32")
    spec = ArraySpec("heatmap/1", "heatmap", ("a",), 500, 450, Grid((2, 2), (0.5, 0.5)), 256, "float32")
    values = np.random.default_rng(0).normal(size=(1, 1000, 900)).astype(np.float32)
    boxes = []

    def read(name: str, y: int, x: int, h: int, w: int) -> np.ndarray:
        boxes.append((h, w))
        return values[:, y : y + h, x : x + w]

    for region in spec.regions():
        y, x, h, w = spec.cells(region)
        expected = RULES["heatmap"](values)[:, y : y + h, x : x + w]
        np.testing.assert_array_equal(reduced(spec, source, region, read, 32), expected)
        assert len(source_regions(spec, source, region)) <= 4
    assert max(h for h, _ in boxes) <= 64
    assert max(w for _, w in boxes) <= 512


def test_levels_are_made_again_when_what_they_were_made_of_changed(slide: Path, tmp_path: Path) -> None:
    """A region that came out otherwise when it was computed again: everything that rests on it follows."""
    output = tmp_path / "out.zarr"
    pipeline().run(slide, output)
    run = pipeline()
    with run.claimed(output, resume=True):
        prepared = run.prepare(slide)
        store = run.config.store
        store.reopen(prepared.plan.layout, prepared.plan.tiling.slide, record_of(prepared))
        region = prepared.plan.regions[3].region
        cells = store.read("heatmap", *prepared.plan.layout.array("heatmap").cells(region))
        store.commit("heatmap", region, cells + np.float32(0.01))
        prepared.plan.tiling.slide.close()
    summary = pipeline().run(slide, output, resume=True)
    reasons = {(one.array, one.reason) for one in summary.redone}
    assert reasons == {
        (name, "what it was made of changed")
        for name in ("heatmap/1", "heatmap/2", "heatmap_display", "heatmap_display/1", "heatmap_display/2")
    }
    root = zarr.open_group(output, mode="r")
    fine, coarse, *_ = levels_of(root["heatmap"])
    np.testing.assert_array_equal(RULES["heatmap"](fine), coarse)
    assert not pipeline().run(slide, output, resume=True).redone


DERIVED = ["heatmap/1/c/0/0/0", "heatmap_display/0/c/0/1/0", "image/1/c/0/0/0", "heatmap/labels/segmentation/2/c/0/0"]


@pytest.mark.parametrize("shard", DERIVED)
def test_a_damaged_level_is_found_and_made_again_alone(slide: Path, straight: Path, tmp_path: Path, shard: str) -> None:
    output = tmp_path / "out.zarr"
    pipeline().run(slide, output)
    data = bytearray((output / shard).read_bytes())
    data[len(data) // 2] ^= 1
    (output / shard).write_bytes(data)
    summary = pipeline().run(slide, output, resume=True)
    assert [one.reason for one in summary.redone] == ["its shard's content changed (sha256)"]
    assert content(output) == content(straight)


def test_the_window_is_counted_once(slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that is only looked over does not read its maps for their windows."""
    pipeline().run(slide, tmp_path / "out.zarr")
    monkeypatch.setattr(Origins, "_histograms", lambda origins, spec: pytest.fail("counted"))
    pipeline().run(slide, tmp_path / "out.zarr", resume=True)
    with pytest.raises(pytest.fail.Exception, match="counted"):
        pipeline().run(slide, tmp_path / "new.zarr")
