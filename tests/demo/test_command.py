"""`xaipipe demo`: what it leaves, what it says, and what it does not touch."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path

import imagecodecs
import numpy as np
import ome_zarr_models.v05 as ngff
import openslide
import pytest
import zarr

from xaipipe.cli.main import main
from xaipipe_demo.judge import Verdict
from xaipipe_demo.scene import Scene


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "--size", "2048", "--seed", "3", "-o", str(folder)]) == 0
    return folder


def test_it_says_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "demo", "--size", "1536", "-o", str(tmp_path / "out")]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["damaged_cells"] >= 20
    assert facts["recall"] >= 0.85
    assert facts["precision"] >= 0.85
    assert facts["iou"] >= 0.3


def test_heat_is_on_the_damaged_cells(result: Path) -> None:
    """Placed by the store's own micrometres: the hottest places of the slide are damaged cells."""
    heatmap = zarr.open_group(result / "slide.zarr", mode="r")["heatmap"]
    scale, shift = heatmap.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    values = np.nan_to_num(heatmap["0"][0])
    hottest = np.argsort(values, axis=None)[-200:]
    cells = np.stack(np.unravel_index(hottest, values.shape), axis=1)
    pixels = (cells * scale["scale"][1:] + shift["translation"][1:]) / 0.5
    nuclei = Scene(3, 2048, 2048).nuclei(0, 0, 2048, 2048)
    centres = np.stack([nuclei.cy, nuclei.cx], axis=1)[nuclei.damaged]
    distance = np.linalg.norm(pixels[:, None] - centres[None], axis=2).min(axis=1)
    assert np.quantile(distance, 0.95) < 10


def test_the_store_is_valid_ngff(result: Path) -> None:
    root = zarr.open_group(result / "slide.zarr", mode="r")
    ngff.BioFormats2Raw.from_zarr(root)
    for image in ("image", "heatmap", "raw"):
        ngff.Image.from_zarr(root[image])
    ngff.Labels.from_zarr(root["heatmap/labels"])
    ngff.ImageLabel.from_zarr(root["heatmap/labels/segmentation"])


def test_the_slide_opens_as_aperio(result: Path) -> None:
    with openslide.OpenSlide(result / "slide.svs") as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert slide.level_count == 3
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)


def test_the_picture_shows_heat(result: Path) -> None:
    picture = imagecodecs.png_decode((result / "overview.png").read_bytes()).astype(int)
    orange = (picture[..., 0] - picture[..., 2] > 60) & (picture[..., 0] > 150)
    assert orange[:1024, :1024].mean() > 0.001


def test_every_object_has_a_row(result: Path) -> None:
    with (result / "slide.zarr" / "instances.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    labels = zarr.open_group(result / "slide.zarr", mode="r")["heatmap/labels/segmentation/0"][:]
    areas = np.bincount(labels.ravel())
    assert [int(row["label"]) for row in table] == list(range(1, len(areas)))
    assert [int(row["area"]) for row in table] == areas[1:].tolist()


def test_the_run_can_be_made_again(result: Path, tmp_path: Path) -> None:
    tomllib.loads((result / "run.toml").read_text(encoding="utf-8"))
    again = tmp_path / "again.zarr"
    arguments = ["run", str(result / "slide.svs"), "--config", str(result / "run.toml"), "--trust", "-o", str(again)]
    assert main(arguments) == 0
    first, second = (zarr.open_group(p, mode="r")["heatmap/0"][:] for p in (result / "slide.zarr", again))
    np.testing.assert_array_equal(first, second)


def test_somebodys_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    assert main(["demo", "-o", str(tmp_path / "mine")]) == 2
    assert "was not made by the demo" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


@pytest.mark.parametrize(("name", "said"), [("notes.txt", "notes.txt"), ("run.toml", "run.toml, which was changed")])
def test_what_was_put_into_the_demos_folder_is_not_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    folder = tmp_path / "out"
    assert main(["demo", "--size", "512", "-o", str(folder)]) == 0
    assert main(["demo", "--size", "512", "-o", str(folder)]) == 0
    (folder / name).write_text("# mine")
    assert main(["demo", "--size", "512", "-o", str(folder)]) == 2
    assert said in capsys.readouterr().err
    assert (folder / name).read_text() == "# mine"


def test_unknown_artefacts_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--artefact", "coffee", "-o", str(tmp_path / "out")]) == 2
    assert "coffee" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_verdict_counts_by_hand() -> None:
    labels = np.array([[1, 1, 0, 0], [0, 0, 2, 0]])
    cells = np.array([[7, 7, 0, 8], [0, 0, 0, 8]])
    damaged = cells > 0
    verdict = Verdict()
    verdict.add(labels, cells, damaged)
    assert (verdict.damaged, verdict.found) == (2, 1)
    assert (verdict.recall, verdict.precision, verdict.iou) == (0.5, 0.5, 2 / 5)


def test_one_object_over_the_whole_slide_is_not_right() -> None:
    cells = np.zeros((20, 20), int)
    cells[:3, :3] = 7
    verdict = Verdict()
    verdict.add(np.ones((20, 20), int), cells, cells > 0)
    assert (verdict.recall, verdict.precision) == (1.0, 0.0)
