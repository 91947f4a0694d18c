"""What other people's programs rely on: every store of the tests is held against the standards here."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import ome_types
import zarr
from ome_zarr_models import v04, v05

SCREENFUL = 512


def check_standards(output: Path) -> list[str]:
    """Hold a finished collection against OME-NGFF (the version that it names) and OME-XML; the images in it."""
    root = zarr.open_group(output, mode="r")
    old = root.metadata.zarr_format == 2
    ngff: Any = v04 if old else v05
    ngff.BioFormats2Raw.from_zarr(root)
    series = _ome(root["OME"])["series"]
    for name in series:
        ngff.Image.from_zarr(root[name])
        _check_levels(root[name])
        if "labels" in root[name]:
            _check_labels(ngff, root[name])
    _check_xml(output / "OME" / "METADATA.ome.xml", root, series)
    return list(series)


def _check_labels(ngff: Any, image: zarr.Group) -> None:
    ngff.Labels.from_zarr(image["labels"])
    for name in _ome(image["labels"])["labels"]:
        label = image["labels"][name]
        ngff.ImageLabel.from_zarr(label)
        _check_levels(label)
        # "MUST have the same number of entries (scale levels) as the original unlabeled image"
        assert len(_levels(label)) == len(_levels(image))


def _check_levels(image: zarr.Group) -> None:
    """From large to small, no step larger than 2.2, down to a screenful."""
    shapes = [image[level["path"]].shape[-2:] for level in _levels(image)]
    for large, small in pairwise(shapes):
        assert all(b <= a <= 2.2 * b for a, b in zip(large, small, strict=True)), shapes
    assert max(shapes[-1]) <= SCREENFUL


def _check_xml(path: Path, root: zarr.Group, series: list[str]) -> None:
    """Valid OME-XML whose images are those of the series, in their order."""
    ome = ome_types.from_xml(path, validate=True)
    assert [image.name for image in ome.images] == series
    for image in ome.images:
        stored, pixels = root[f"{image.name}/0"], image.pixels
        assert (pixels.size_c, pixels.size_y, pixels.size_x) == stored.shape
        assert len(pixels.channels) == pixels.size_c
        assert pixels.metadata_only
        assert pixels.type.value.replace("float", "float32") == stored.dtype.name
        scale = _levels(root[image.name])[0]["coordinateTransformations"][0]["scale"]
        if pixels.physical_size_x is not None:
            assert (pixels.physical_size_y, pixels.physical_size_x) == tuple(scale[1:])
            assert pixels.physical_size_x_unit.value == "µm"


def _levels(image: zarr.Group) -> list[dict[str, Any]]:
    return list(_ome(image)["multiscales"][0]["datasets"])


def _ome(group: zarr.Group) -> Any:
    return group.attrs.get("ome", group.attrs)
