"""The OME-Zarr store: the contract, the metadata against the standard, and where every cell lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image, ImageLabel, Labels

from tests.standards import check_standards
from xaipipe import Grid, Slide, Store
from xaipipe.running.layout import STATES, STATUS, ArraySpec, Layout
from xaipipe.running.manifest import PlanRecord
from xaipipe.running.tiling import Tiling
from xaipipe.testing import MemorySlide, StoreContract
from xaipipe_store.ome_zarr import OmeZarr

MPP = 0.25


class TestOmeZarr(StoreContract):
    method = OmeZarr

    def is_complete(self, output: Path) -> bool:
        return bool(root_of(output)["xaipipe"].get("complete"))


class TestOmeZarrWithCopy(TestOmeZarr):
    params: ClassVar = {"shard": 64, "image": "copy", "chunk": 8}


def root_of(output: Path) -> Mapping[str, Any]:
    return json.loads((output / "zarr.json").read_text())["attributes"]


def layout_on(level: int, slide: Slide, grid: Grid, names: tuple[str, ...] = ("heatmap",)) -> Layout:
    """Maps on a grid of one level, and labels on its pixels."""
    size, step = slide.levels[level], int(grid.scale[0])
    rows, columns = -(-size.height // step), -(-size.width // step)
    maps = [ArraySpec(name, "heatmap", ("a",), rows, columns, grid, 16 // step, "float32") for name in names]
    labels = ArraySpec("segmentation", "labels", ("label",), size.height, size.width, Grid(), 16, "uint32")
    return Layout((*maps, labels), level, size.downsample, slide.mpp)


def written(output: Path, layout: Layout, slide: Slide, image: str = "copy") -> Store:
    """A finished result whose maps hold 1, 2, 3, …"""
    store = OmeZarr(shard=16, image=image)
    store.claim(output)
    layout = store.extended(layout, slide)
    store.create(layout, slide, PlanRecord({}, None))
    for spec in (spec for spec in layout.arrays if spec.role != "image"):
        values = np.arange(1, spec.height * spec.width + 1).reshape(1, spec.height, spec.width).astype(spec.dtype)
        for region in Tiling(slide, layout.level, 8, 0, 16).regions():
            y, x, h, w = spec.cells(region)
            if h and w:
                store.commit(spec.name, region, values[:, y : y + h, x : x + w])
    for level, spec in enumerate(spec for spec in layout.arrays if spec.role == "image"):
        for region in spec.regions():
            pixels = slide.read(level, region.y, region.x, region.h, region.w)
            store.commit(spec.name, region, np.moveaxis(pixels, 2, 0))
    for spec in layout.derived:
        for region in spec.regions():
            store.commit(spec.name, region, store.derive(spec.name, region))
    store.finish({"settings": {}}, ())
    store.release()
    return store


@pytest.fixture(params=["copy", "reference"])
def result(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    slide = MemorySlide.striped(64, 80)
    layout = layout_on(0, slide, Grid((4.0, 4.0), (1.5, 1.5)), ("raw", "heatmap"))
    written(tmp_path / "result.zarr", layout, slide, request.param)
    return tmp_path / "result.zarr"


def test_the_collection_and_all_in_it_are_what_the_standard_says(result: Path) -> None:
    copied = ["image"] if (result / "image").exists() else []
    assert check_standards(result) == [*copied, "raw", "heatmap", "heatmap_display"]


def test_axes_are_in_micrometres(result: Path) -> None:
    for name in zarr.open_group(result / "OME", mode="r").attrs["ome"]["series"]:
        image = Image.from_zarr(zarr.open_group(result / name, mode="r"))
        (multiscale,) = image.ome_attributes.multiscales
        assert [axis.name for axis in multiscale.axes] == ["c", "y", "x"]
        assert [axis.unit for axis in multiscale.axes][1:] == ["micrometer", "micrometer"]


def test_labels_are_found_from_their_image(result: Path) -> None:
    group = zarr.open_group(result / "heatmap" / "labels", mode="r")
    assert group.attrs["ome"]["labels"] == ["segmentation"]
    assert group["segmentation"].attrs["ome"]["image-label"]["source"] == {"image": "../../"}
    assert group["segmentation/0"].dtype == np.uint32


def test_labels_with_names_say_them_and_lie_on_their_own_grid(tmp_path: Path) -> None:
    """A mask of cells of 20 × 20 level-0 pixels, beside labels of a level that is downsampled by 4."""
    slide = MemorySlide.striped(128, 160)
    layout = layout_on(1, slide, Grid())
    grid = Grid((5.0, 5.0), (2.0, 2.0))
    mask = ArraySpec("tissue", "labels", ("label",), 7, 8, grid, 64, "uint8", ("glass", "tissue", "pen"))
    output = tmp_path / "result.zarr"
    store = OmeZarr(shard=16)
    store.claim(output)
    store.create(store.extended(replace(layout, arrays=(*layout.arrays, mask)), slide), slide, PlanRecord({}, None))
    values = (np.arange(56) % 3).astype(np.uint8).reshape(1, 7, 8)
    for region in mask.regions():
        store.commit("tissue", region, values)
    store.finish({}, ())
    store.release()
    labels = output / "heatmap" / "labels"
    listed = Labels.from_zarr(zarr.open_group(labels, mode="r")).ome_attributes.labels
    assert list(listed) == ["segmentation", "tissue"]
    described = ImageLabel.from_zarr(zarr.open_group(labels / "tissue", mode="r")).ome_attributes.image_label
    assert [(one.label_value, one.model_extra["name"]) for one in described.properties] == [
        (0, "glass"),
        (1, "tissue"),
        (2, "pen"),
    ]
    np.testing.assert_array_equal(zarr.open_array(labels / "tissue" / "0", mode="r")[:], values[0])
    for cell in ((0, 0), (3, 5)):
        expected = tuple(MPP * (9.5 + 20 * index) for index in cell)
        assert micrometres(labels / "tissue", 0, *cell) == pytest.approx(expected, abs=1e-12)


def micrometres(group: Path, dataset: int, y: int, x: int) -> tuple[float, float]:
    """Where the metadata says that the centre of a cell lies."""
    transforms = json.loads((group / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]["datasets"][
        dataset
    ]["coordinateTransformations"]
    scale, translation = transforms[0]["scale"][-2:], transforms[1]["translation"][-2:]
    return translation[0] + scale[0] * y, translation[1] + scale[1] * x


def level_0(position: float, downsample: float) -> float:
    """From pixel centres of a level to pixel centres of level 0."""
    return (position + 0.5) * downsample - 0.5


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("grid", [Grid(), Grid((4.0, 4.0), (1.5, 1.5)), Grid((8.0, 8.0), (0.0, 3.0))])
def test_a_cell_lies_where_the_pixel_it_explains_lies(tmp_path: Path, level: int, grid: Grid) -> None:
    slide = MemorySlide.striped(128, 160)
    downsample = slide.levels[level].downsample
    assert downsample == (1.0, 4.0)[level]
    output = tmp_path / "result.zarr"
    written(output, layout_on(level, slide, grid), slide)
    for cell in ((0, 0), (1, 2), (3, 1)):
        explained = [grid.offset[axis] + cell[axis] * grid.scale[axis] for axis in (0, 1)]
        expected = tuple(MPP * level_0(pixel, downsample) for pixel in explained)
        assert micrometres(output / "heatmap", 0, *cell) == pytest.approx(expected, abs=1e-12)
    labels = output / "heatmap" / "labels" / "segmentation"
    for pixel in ((0, 0), (5, 9)):
        expected = tuple(MPP * level_0(p, downsample) for p in pixel)
        assert micrometres(labels, 0, *pixel) == pytest.approx(expected, abs=1e-12)
        for copied, span in enumerate((1.0, 2.0, 4.0)):  # the slide's own, one that it lacks, its own
            expected = tuple(MPP * level_0(p, span) for p in pixel)
            assert micrometres(output / "image", copied, *pixel) == pytest.approx(expected, abs=1e-12)


def test_slide_is_copied_to_the_byte(tmp_path: Path) -> None:
    slide = MemorySlide.striped(64, 80)
    written(tmp_path / "result.zarr", layout_on(0, slide, Grid()), slide)
    for index, (name, level) in enumerate(zip("02", slide.levels, strict=True)):
        copied = zarr.open_array(tmp_path / "result.zarr" / "image" / name, mode="r")[:]
        np.testing.assert_array_equal(np.moveaxis(copied, 0, 2), slide.read(index, 0, 0, level.height, level.width))


def test_slide_without_a_size_is_in_pixels(tmp_path: Path) -> None:
    slide = MemorySlide.striped(64, 80)
    slide.mpp = None
    written(tmp_path / "result.zarr", layout_on(0, slide, Grid((4.0, 4.0), (1.5, 1.5))), slide)
    image = Image.from_zarr(zarr.open_group(tmp_path / "result.zarr" / "heatmap", mode="r"))
    assert [axis.unit for axis in image.ome_attributes.multiscales[0].axes] == [None, None, None]
    assert micrometres(tmp_path / "result.zarr" / "heatmap", 0, 1, 1) == (5.5, 5.5)


def test_display_window_holds_the_values(result: Path) -> None:
    attributes = zarr.open_group(result / "heatmap", mode="r").attrs["ome"]
    window = attributes["omero"]["channels"][0]["window"]
    values = zarr.open_array(result / "heatmap" / "0", mode="r")[:]
    assert window["start"] == 0.0
    assert window["end"] == pytest.approx(np.nanpercentile(values, 99.9), rel=1 / 64)


def test_status_labels_lie_on_the_maps_cells_and_are_named(tmp_path: Path) -> None:
    slide = MemorySlide.striped(64, 80)
    layout = layout_on(0, slide, Grid((4.0, 4.0), (1.5, 1.5)))
    status = replace(layout.arrays[0], name=STATUS, role="labels", channels=("status",), dtype="uint8", classes=STATES)
    written(tmp_path / "result.zarr", replace(layout, arrays=(*layout.arrays, status)), slide)
    parent = tmp_path / "result.zarr" / "heatmap"
    labels = Labels.from_zarr(zarr.open_group(parent / "labels", mode="r"))
    assert list(labels.ome_attributes.labels) == ["segmentation", "status"]
    label = ImageLabel.from_zarr(zarr.open_group(parent / "labels" / "status", mode="r"))
    assert [(one.label_value, one.model_extra["name"]) for one in label.ome_attributes.image_label.properties] == [
        (0, "background"),
        (1, "explained"),
        (2, "unreadable"),
    ]
    assert zarr.open_array(parent / "labels" / "status" / "0", mode="r").dtype == np.uint8
    for cell in ((0, 0), (3, 7)):
        assert micrometres(parent / "labels" / "status", 0, *cell) == micrometres(parent, 0, *cell)
