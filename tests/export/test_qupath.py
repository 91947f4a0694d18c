"""`--to qupath`: values, places and polygons as QuPath, Bio-Formats and openslide read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import openslide
import pytest
import tifffile
import zarr
from skimage.draw import polygon2mask

from tests.conftest import Cli
from tests.export.results import MPP, discs, finished
from tests.store.runs import pipeline, write_slide
from xaipipe import Instance
from xaipipe_export.result import Level

HEAT = np.linspace(-1, 2, 2 * 30 * 40, dtype=np.float32).reshape(2, 30, 40)
ONE = HEAT[:1]


@pytest.fixture
def qupath(cli: Cli, tmp_path: Path) -> Any:
    """Export a result; its folder."""

    def export(result: Path, *options: str) -> Path:
        answer = cli("export", result, "--to", "qupath", "-o", "qp", *options)
        assert answer.code == 0, answer.err
        return tmp_path / "qp"

    return export


def features(file: Path) -> list[dict[str, Any]]:
    collection = json.loads(file.read_text())
    assert collection["type"] == "FeatureCollection"
    return collection["features"]


def polygons_of(feature: dict[str, Any]) -> list[list[np.ndarray]]:
    geometry = feature["geometry"]
    many = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    return [[np.asarray(ring) for ring in polygon] for polygon in many]


def filled(feature: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """The pixels of level 0 that a feature covers, by somebody else's rasteriser."""
    mask = np.zeros(shape, bool)
    for shell, *holes in polygons_of(feature):
        inside = polygon2mask(shape, shell[:, ::-1] - 0.5)
        for hole in holes:
            inside &= ~polygon2mask(shape, hole[:, ::-1] - 0.5)
        mask |= inside
    return mask


def test_the_values_are_those_of_the_result_at_every_level(qupath: Any, tmp_path: Path) -> None:
    result = finished(tmp_path / "r.zarr", discs(120, 160, 9), HEAT)
    stored = zarr.open_group(result / "heatmap", mode="r")
    with tifffile.TiffFile(qupath(result) / "heatmap.ome.tif") as tiff:
        levels = tiff.series[0].levels
        assert len(levels) == len(stored.attrs["ome"]["multiscales"][0]["datasets"]) == 5
        for number, level in enumerate(levels):
            np.testing.assert_array_equal(level.asarray().reshape(stored[str(number)].shape), stored[str(number)][:])
        assert tiff.pages[0].is_tiled


def test_the_tiff_says_where_it_lies_in_micrometres(qupath: Any, tmp_path: Path) -> None:
    result = finished(tmp_path / "r.zarr", discs(120, 160, 9), HEAT, downsample=4, offset=(2, 3))
    for name, channels in (("heatmap.ome.tif", 2), ("heatmap-rgb.ome.tif", 1)):
        with tifffile.TiffFile(qupath(result, "--overwrite") / name) as tiff:
            ome = ome_types.from_xml(tiff.ome_metadata, validate=True)
        pixels = ome.images[0].pixels
        assert (pixels.physical_size_x, pixels.physical_size_y) == (16 * MPP, 16 * MPP)
        assert [(plane.position_y, plane.position_x) for plane in pixels.planes] == [(8 * MPP, 12 * MPP)] * channels


def test_openslide_opens_the_colours(qupath: Any, tmp_path: Path) -> None:
    result = finished(tmp_path / "r.zarr", discs(120, 160, 9), ONE)
    path = qupath(result) / "heatmap-rgb.ome.tif"
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(4 * MPP)
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    np.testing.assert_array_equal(pixels, tifffile.imread(path))
    assert pixels.shape == (30, 40, 3)
    assert pixels[0, 0, 2] > pixels[0, 0, 0]  # what speaks against is blue
    assert pixels[-1, -1, 0] > pixels[-1, -1, 2]


def test_filling_the_objects_gives_the_labels_back(qupath: Any, tmp_path: Path) -> None:
    """They cross shards of 32 pixels, lie in pieces and have holes."""
    labels = discs(120, 160, 25)
    found = features(qupath(finished(tmp_path / "r.zarr", labels, ONE)) / "objects.geojson")
    back = np.zeros_like(labels)
    for feature in found:
        back[filled(feature, labels.shape)] = int(feature["properties"]["name"].split()[-1])
    np.testing.assert_array_equal(back, labels)
    assert len({feature["id"] for feature in found}) == len(found) == len(np.unique(labels)) - 1


def test_islands_of_a_label_are_one_feature(qupath: Any, tmp_path: Path) -> None:
    labels = np.zeros((40, 40), np.uint32)
    labels[2:5, 2:5] = labels[30:38, 20:24] = 6
    (feature,) = features(qupath(finished(tmp_path / "r.zarr", labels, ONE[:, :10, :10])) / "objects.geojson")
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert len(polygons_of(feature)) == 2


def test_an_object_lies_where_it_lies_on_level_0(qupath: Any, tmp_path: Path) -> None:
    """Explained at a quarter of the resolution, from pixel (2, 3) of that level on."""
    labels = np.zeros((40, 40), np.uint32)
    labels[5:9, 3:12] = 1
    result = finished(tmp_path / "r.zarr", labels, ONE[:, :10, :10], downsample=4, offset=(2, 3))
    (feature,) = features(qupath(result) / "objects.geojson")
    top, bottom, left, right = ((2 + 5) * 4, (2 + 9) * 4, (3 + 3) * 4, (3 + 12) * 4)
    ((ring,),) = polygons_of(feature)
    assert ring.tolist() == [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    assert feature["properties"]["measurements"] == {"Area µm^2": 4 * 9 * (4 * MPP) ** 2}


def test_a_scanner_whose_levels_are_not_quite_powers_of_two(qupath: Any, tmp_path: Path) -> None:
    labels = np.zeros((40, 40), np.uint32)
    labels[10:20, 0:30] = 1
    (feature,) = features(
        qupath(finished(tmp_path / "r.zarr", labels, ONE[:, :10, :10], downsample=4.0003)) / "objects.geojson"
    )
    ((ring,),) = polygons_of(feature)
    np.testing.assert_allclose(ring[0], (0, 40.003), atol=5e-4)
    np.testing.assert_allclose(ring[2], (120.009, 80.006), atol=5e-4)


def test_objects_carry_what_the_table_says_of_them(qupath: Any, tmp_path: Path) -> None:
    labels = np.zeros((40, 40), np.uint32)
    labels[2:5, 2:6] = 1
    instance = Instance(1, 2, 2, 3, 4, 12, 3.0, 3.5, peak=0.75, mean=0.5)
    result = finished(tmp_path / "r.zarr", labels, ONE[:, :10, :10], instances=(instance,))
    (feature,) = features(qupath(result, "--objects", "annotation") / "objects.geojson")
    assert feature["properties"] == {
        "objectType": "annotation",
        "name": "red 1",
        "classification": {"name": "red", "color": [255, 200, 0]},
        "measurements": {"Area µm^2": 12 * MPP**2, "Mean evidence": 0.5, "Peak evidence": 0.75},
    }


def test_every_label_image_is_a_file(qupath: Any, tmp_path: Path) -> None:
    images = {"segmentation": discs(40, 40, 3), "tissue": np.ones((40, 40), np.uint32)}
    instance = Instance(1, 2, 2, 3, 4, 12, 3.0, 3.5, peak=0.75, mean=0.5)
    folder = qupath(finished(tmp_path / "r.zarr", images, ONE[:, :10, :10], instances=(instance,)))
    (tissue,) = features(folder / "tissue.geojson")
    assert tissue["properties"]["classification"]["name"] == "tissue: 1"
    assert tissue["properties"]["measurements"] == {"Area µm^2": 1600 * MPP**2}  # the table is not the tissue's
    assert len(features(folder / "objects.geojson")) == 3


def test_a_slide_without_a_size_is_in_pixels(qupath: Any, tmp_path: Path) -> None:
    labels = np.ones((40, 40), np.uint32)
    folder = qupath(finished(tmp_path / "r.zarr", labels, ONE[:, :10, :10], mpp=None))
    (feature,) = features(folder / "objects.geojson")
    assert feature["properties"]["measurements"] == {"Area px^2": 1600}
    with tifffile.TiffFile(folder / "heatmap.ome.tif") as tiff:
        assert ome_types.from_xml(tiff.ome_metadata, validate=True).images[0].pixels.physical_size_x is None


def test_a_run_without_segmenters_has_a_map_only_and_says_so(cli: Cli, tmp_path: Path) -> None:
    pipeline(segment=[]).run(write_slide(tmp_path), tmp_path / "out.zarr")
    answer = cli("export", "out.zarr", "--to", "qupath", "-o", "qp")
    assert answer.code == 0
    assert "none: the run had no segmenters" in answer.out
    assert not list((tmp_path / "qp").glob("*.geojson"))


def test_objects_of_a_run_cover_as_much_as_its_table_says(qupath: Any, tmp_path: Path) -> None:
    instances = pipeline().run(write_slide(tmp_path), tmp_path / "out.zarr").instances
    found = features(qupath(tmp_path / "out.zarr") / "objects.geojson")
    areas = [feature["properties"]["measurements"]["Area µm^2"] for feature in found]
    assert areas == [one.area * 0.5**2 for one in instances]


def test_no_more_than_a_strip_is_read_at_once(qupath: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xaipipe_export.geojson._STRIP_PIXELS", 160 * 16)
    monkeypatch.setattr("xaipipe_export.ome_tiff.TILE", 16)
    original, largest = Level.read, []

    def read(level: Level, y: int, x: int, h: int, w: int) -> np.ndarray:
        largest.append(h * w)
        return original(level, y, x, h, w)

    monkeypatch.setattr(Level, "read", read)
    qupath(finished(tmp_path / "r.zarr", discs(120, 160, 9), ONE))
    assert max(largest) <= 160 * 16
