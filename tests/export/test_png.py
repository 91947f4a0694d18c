"""`--to png`: one picture, of the slide where there is one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from tests.conftest import Cli
from tests.export.results import finished
from tests.running.slides import RedFinder, dotted, tables, write_tiled
from tests.store.runs import CENTRES, pipeline, write_slide
from xaipipe import Pipeline

LEGEND = 64


def picture(path: Path) -> np.ndarray:
    """Without its legend."""
    return imagecodecs.png_decode(path.read_bytes())[:-LEGEND]


@pytest.fixture
def export(cli: Cli, tmp_path: Path) -> Any:
    def call(result: str, *options: object) -> tuple[np.ndarray, str]:
        answer = cli("export", result, "--to", "png", "-o", "heat.png", "--overwrite", *options)
        assert answer.code == 0, answer.err
        return picture(tmp_path / "heat.png"), answer.out

    return call


def redness(pixels: np.ndarray) -> np.ndarray:
    """Heat is the only colour on a faded slide."""
    return np.ptp(pixels.astype(int), axis=2)


@pytest.mark.parametrize("size", [120, 240, 2048])
def test_heat_lies_on_the_discs_at_any_size(export: Any, tmp_path: Path, size: int) -> None:
    pipeline().run(write_slide(tmp_path), tmp_path / "out.zarr")
    pixels, _ = export("out.zarr", "--size", size)
    shrink = max(240 / size, 1)
    height, width = round(240 / shrink), round(200 / shrink)
    assert pixels.shape[0] == height
    heat = redness(pixels[:, :width])
    y, x = np.nonzero(heat > heat.max() / 2)
    discs = np.asarray(CENTRES) / shrink
    distance = np.hypot(y[:, None] - discs[:, 0], x[:, None] - discs[:, 1])
    assert distance.min(axis=1).max() <= 9 / shrink + 1  # a disc's radius and a cell
    assert (distance.min(axis=0) < 3).all()  # and none is without


def test_one_cell_of_evidence_is_seen_however_small_the_picture(export: Any, tmp_path: Path) -> None:
    heat = np.zeros((1, 512, 512), np.float32)
    heat[0, 300, 200] = 1.0
    finished(tmp_path / "r.zarr", {}, heat, step=1, shard=512)
    pixels, _ = export("r.zarr", "--size", 64)
    brightest = pixels[:, :64].sum(axis=2)
    assert np.unravel_index(brightest.argmax(), brightest.shape) == (300 // 8, 200 // 8)


def test_the_slide_is_the_copy_or_the_file_or_nothing(export: Any, tmp_path: Path) -> None:
    slide = write_slide(tmp_path)
    Pipeline(tables(store={"image": "copy"}), model=RedFinder()).run(slide, tmp_path / "copy.zarr")
    Pipeline(tables(), model=RedFinder()).run(slide, tmp_path / "file.zarr")
    copied, said = export("copy.zarr")
    assert "the copy in the result" in said
    read, said = export("file.zarr")
    assert "dots.tif" in said
    np.testing.assert_array_equal(copied, read)
    slide.unlink()
    alone, said = export("file.zarr")
    assert "not found" in said
    assert alone.shape == read.shape


def test_a_slide_that_is_another_by_now_is_not_shown(export: Any, tmp_path: Path) -> None:
    slide = write_slide(tmp_path)
    Pipeline(tables(), model=RedFinder()).run(slide, tmp_path / "out.zarr")
    write_tiled(slide, dotted(240, 200, [(5, 5)]))
    assert "another by now" in export("out.zarr")[1]


def test_the_slide_is_found_where_it_was_explained(
    cli: Cli, export: Any, slide_file: Path, run_file: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "scanner"
    elsewhere.mkdir()
    slide = shutil.move(slide_file, elsewhere / "slide.tif")
    assert cli("run", slide, "--config", run_file, "--trust", "-o", "out.zarr").code == 0
    assert str(slide) in export("out.zarr")[1]


def test_bands_do_not_show(export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline().run(write_slide(tmp_path), tmp_path / "out.zarr")
    for size in (150, 240):
        whole, _ = export("out.zarr", "--size", size)
        with monkeypatch.context() as patch:
            patch.setattr("xaipipe_export.targets.png._ROWS", 7)
            patch.setattr("xaipipe_export.heat._CELLS_AT_ONCE", 200)
            banded, _ = export("out.zarr", "--size", size)
        assert np.abs(whole.astype(int) - banded).max() <= 1


def test_signed_maps_are_signed_in_every_band(export: Any, tmp_path: Path) -> None:
    """The upper half speaks for, the lower against: neither may take the colours of the other."""
    heat = np.ones((1, 512, 256), np.float32)
    heat[:, 256:] = -1
    finished(tmp_path / "r.zarr", {}, heat, step=1, shard=512)
    pixels, _ = export("r.zarr", "--size", 512)
    for_, against = pixels[100, 100].astype(int), pixels[400, 100].astype(int)
    assert for_[0] > for_[2]
    assert against[2] > against[0]


def test_colours_go_up_to_a_percentile_of_the_whole_slide(
    export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter is strong, a quarter weak: to the median of what is not zero, both are alike."""
    heat = np.zeros((1, 256, 256), np.float32)
    heat[0, :64], heat[0, -64:] = 1, -100
    finished(tmp_path / "r.zarr", {}, heat, step=1, shard=256)
    monkeypatch.setattr("xaipipe_export.heat._CELLS_AT_ONCE", 10_000)
    weak = {}
    for percentile in (None, 50, 100):
        pixels, _ = export("r.zarr", *(() if percentile is None else ("--percentile", percentile)))
        weak[percentile] = int(redness(pixels)[10, 10])
    assert weak[50] > 100 > 20 > weak[100]
    assert abs(weak[None] - weak[100]) <= 1


def test_a_picture_has_the_colours_that_are_asked_for(export: Any, tmp_path: Path) -> None:
    finished(tmp_path / "r.zarr", {}, np.ones((1, 256, 256), np.float32), step=1, shard=256)
    grey, _ = export("r.zarr", "--colours", "grey")
    assert redness(grey)[:256, :256].max() == 0
    assert grey[0, 0, 0] == 255
