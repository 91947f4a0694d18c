"""A tiled slide gives what the whole slide gives, and every map lies where its evidence is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from skimage.measure import label

import xaipipe
from tests.running.slides import RedFinder, dotted, tables, write_tiled

CENTRES = [(40, 60), (64, 128), (130, 126), (200, 250), (255, 30), (128, 256), (191, 191)]
CHAIN = {
    "postprocess": [{"method": "smooth", "sigma": 1.0}],
    "segment": [{"method": "threshold"}, {"method": "components"}],
}


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_tiled(tmp_path / "dots.tif", dotted(300, 332, CENTRES))


def run(slide: Path, output: Path, **changes: object) -> zarr.Group:
    xaipipe.Pipeline(tables(**changes), model=RedFinder()).run(slide, output)
    return zarr.open_group(output, mode="r")


def test_every_disc_is_an_object_at_its_centre(slide: Path, tmp_path: Path) -> None:
    pipeline = xaipipe.Pipeline(tables(**CHAIN), model=RedFinder())
    instances = pipeline.run(slide, tmp_path / "out.zarr").instances
    found = sorted((one.centre_y, one.centre_x) for one in instances)
    np.testing.assert_allclose(found, sorted(CENTRES), atol=1.0)


def test_heat_in_micrometres_lies_on_the_discs(slide: Path, tmp_path: Path) -> None:
    heatmap = run(slide, tmp_path / "out.zarr")["heatmap"]
    (scale, translation) = heatmap.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    values = heatmap["0"][0]
    hot_y, hot_x = np.nonzero(values > values.max() / 2)
    um_y = hot_y * scale["scale"][1] + translation["translation"][1]
    um_x = hot_x * scale["scale"][2] + translation["translation"][2]
    discs = np.asarray(CENTRES) * 0.5
    nearest = np.hypot(um_y[:, None] - discs[:, 0], um_x[:, None] - discs[:, 1]).min(axis=1)
    assert nearest.max() <= (5 + 2) * 0.5  # radius and half a cell


@pytest.mark.parametrize("shard", [64, 128, 192, 4096])
def test_regions_of_any_size_give_the_same_map_and_labels(slide: Path, tmp_path: Path, shard: int) -> None:
    whole = run(slide, tmp_path / "whole.zarr", **CHAIN, store={"shard": 4096})
    tiled = run(slide, tmp_path / "tiled.zarr", **CHAIN, store={"shard": shard})
    np.testing.assert_array_equal(tiled["raw/0"][:], whole["raw/0"][:])
    np.testing.assert_allclose(tiled["heatmap/0"][:], whole["heatmap/0"][:], rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(tiled["heatmap/labels/segmentation/0"][:], whole["heatmap/labels/segmentation/0"][:])


def test_labels_equal_labelling_the_whole_mask(slide: Path, tmp_path: Path) -> None:
    mask = run(slide, tmp_path / "mask.zarr", segment=[{"method": "threshold"}], store={"shard": 64})
    objects = run(slide, tmp_path / "objects.zarr", segment=CHAIN["segment"], store={"shard": 64})
    expected = label(mask["heatmap/labels/segmentation/0"][:], connectivity=2)
    np.testing.assert_array_equal(objects["heatmap/labels/segmentation/0"][:], expected)


def test_context_makes_tiles_equal_the_whole_image_in_one_piece(tmp_path: Path) -> None:
    """A cell that looks 2 px beyond its tile needs a halo of 4; then only Grad-CAM's 1/Z differs."""
    pixels = dotted(128, 128, [(62, 62), (70, 20), (64, 100)])
    path = write_tiled(tmp_path / "s.tif", pixels)
    model = RedFinder(kernel=8)
    xaipipe.Pipeline(tables(load={"tile": 72, "overlap": 8}), model=model).run(path, tmp_path / "out.zarr")
    tiled = zarr.open_group(tmp_path / "out.zarr", mode="r")["heatmap/0"][0]
    x = torch.from_numpy(pixels).movedim(-1, 0)[None].float() / 255
    whole = xaipipe.explain(model, x, method="gradcam", layer="activate", target=1).values[0, 0].numpy()
    cells_in_tile, cells_in_whole = (72 // 4) ** 2, (128 // 4) ** 2
    inner = np.s_[1:-1, 1:-1]  # the network pads the image's border with zeros, the loader repeats pixels
    np.testing.assert_allclose(
        tiled[inner] * cells_in_tile, whole[inner] * cells_in_whole, rtol=1e-4, atol=1e-4 * whole.max() * cells_in_whole
    )


def test_background_is_skipped_and_stays_nan(tmp_path: Path) -> None:
    pixels = np.full((256, 256, 3), 245, np.uint8)
    pixels[:120, :120] = dotted(120, 120, [(60, 60)]) - np.uint8([0, 60, 20])
    slide = write_tiled(tmp_path / "s.tif", pixels)
    pipeline = xaipipe.Pipeline(tables(load={"tissue": "auto"}), model=RedFinder())
    summary = pipeline.run(slide, tmp_path / "out.zarr")
    heat = zarr.open_group(tmp_path / "out.zarr", mode="r")["heatmap/0"][0]
    assert (summary.tiles, summary.skipped) == (4, 12)
    assert np.isfinite(heat[:30, :30]).all()
    assert np.isnan(heat[32:, 32:]).all()


class RedPixels(RedFinder):
    """A segmentation: what RedFinder sees of each cell, and nothing for the other class."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.find(x) - torch.tensor([0.0, 0.05])[:, None, None]


def test_a_segmentation_is_explained_where_it_gives_the_class(slide: Path, tmp_path: Path) -> None:
    """A tile without the class has an empty map, and does not end the run."""
    explain = {"explain": {"method": "saliency", "target": "red"}}
    xaipipe.Pipeline({**tables(), **explain}, model=RedPixels()).run(slide, tmp_path / "out.zarr")
    values = zarr.open_group(tmp_path / "out.zarr", mode="r")["heatmap/0"][:]
    heat = np.abs(values).sum(axis=0)
    assert heat.max() > 0
    at_discs = [heat[y - 4 : y + 5, x - 4 : x + 5].max() > 0 for y, x in CENTRES]
    assert all(at_discs)
    reach = np.ones_like(heat, dtype=bool)
    for y, x in CENTRES:
        reach[max(y - 9, 0) : y + 10, max(x - 9, 0) : x + 10] = False
    assert not heat[reach].any()


def test_two_runs_write_the_same_bytes(slide: Path, tmp_path: Path) -> None:
    def content(root: Path) -> dict[str, bytes]:
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    for name in ("a.zarr", "b.zarr"):
        run(slide, tmp_path / name, **CHAIN, store={"image": "copy"})
    assert content(tmp_path / "a.zarr") == content(tmp_path / "b.zarr")


def test_a_last_region_without_any_cell_is_labelled_too(tmp_path: Path) -> None:
    """257 pixels in regions of 64: the last row of regions is one pixel high, and no cell's centre lies in it."""
    slide = write_tiled(tmp_path / "s.tif", dotted(257, 130, [(250, 60)], radius=9))
    tiled = run(slide, tmp_path / "tiled.zarr", **CHAIN, store={"shard": 64})
    whole = run(slide, tmp_path / "whole.zarr", **CHAIN, store={"shard": 4096})
    labels = tiled["heatmap/labels/segmentation/0"][:]
    np.testing.assert_array_equal(labels, whole["heatmap/labels/segmentation/0"][:])
    assert labels[256].any()
