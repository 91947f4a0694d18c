"""A run at a resolution that the slide has no level of: map, labels and table lie on the discs, in micrometres."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import ome_zarr_models.v05 as ngff
import pytest
import zarr

import xaipipe
from tests.running.slides import RedFinder, dotted, tables, write_tiled

CENTRES = [(40, 60), (64, 128), (130, 126), (200, 250), (255, 30), (191, 191)]
MPP = 0.5
RADIUS = 9


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiled(tmp_path_factory.mktemp("slide") / "dots.tif", dotted(300, 332, CENTRES, RADIUS), MPP)


def run(slide: Path, output: Path, mpp: float, **changes: object) -> zarr.Group:
    settings = {
        "preprocess": {"mpp": mpp},
        "segment": [{"method": "threshold"}, {"method": "components"}],
        **changes,
    }
    xaipipe.Pipeline(tables(**settings), model=RedFinder()).run(slide, output)
    return zarr.open_group(output, mode="r")


def micrometres(image: zarr.Group, pixels: np.ndarray) -> np.ndarray:
    scale, translation = image.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    return pixels * scale["scale"][-2:] + translation["translation"][-2:]


@pytest.mark.parametrize("mpp", [0.35, 0.5, 0.65, 0.83])
def test_everything_lies_on_the_discs(slide: Path, tmp_path: Path, mpp: float) -> None:
    root = run(slide, tmp_path / "out.zarr", mpp)
    discs = np.asarray(CENTRES) * MPP
    heat = root["heatmap/0"][0]
    hot = micrometres(root["heatmap"], np.argwhere(heat > np.nanmax(heat) / 2))
    nearest = np.hypot(*(hot[:, None] - discs).transpose(2, 0, 1)).min(axis=1)
    assert nearest.max() <= RADIUS * MPP + 3 * mpp  # and half a cell's diagonal

    labels = root["heatmap/labels/segmentation/0"][:]
    image = root["heatmap/labels/segmentation"]
    objects = [micrometres(image, np.argwhere(labels == n)).mean(axis=0) for n in range(1, labels.max() + 1)]
    np.testing.assert_allclose(sorted(map(tuple, objects)), sorted(map(tuple, discs)), atol=mpp)

    with (tmp_path / "out.zarr" / "instances.csv").open() as file:
        rows = [(float(row["centre_y_um"]), float(row["centre_x_um"])) for row in csv.DictReader(file)]
    np.testing.assert_allclose(sorted(rows), sorted(map(tuple, objects)), atol=0.01)


def test_the_manifest_says_what_was_made(slide: Path, tmp_path: Path) -> None:
    kept = run(slide, tmp_path / "out.zarr", 0.65).attrs["xaipipe"]
    assert kept["slide"]["notes"] == ["level 0 at 0.5 µm per pixel is resampled to 0.65"]
    assert kept["plan"]["downsample"] == pytest.approx(1.3)


def test_a_copy_holds_the_slides_own_levels_only(slide: Path, tmp_path: Path) -> None:
    root = run(slide, tmp_path / "out.zarr", 0.65, store={"image": "copy"})
    ngff.Image.from_zarr(root["image"])
    assert sorted(root["image"].array_keys()) == ["0"]
    np.testing.assert_array_equal(np.moveaxis(root["image/0"][:], 0, 2), dotted(300, 332, CENTRES, RADIUS))


@pytest.mark.parametrize("shard", [64, 4096])
def test_regions_of_any_size_give_the_same_map(slide: Path, tmp_path: Path, shard: int) -> None:
    one = run(slide, tmp_path / "one.zarr", 0.65, store={"shard": 128})
    other = run(slide, tmp_path / "other.zarr", 0.65, store={"shard": shard})
    np.testing.assert_array_equal(one["heatmap/0"][:], other["heatmap/0"][:])
