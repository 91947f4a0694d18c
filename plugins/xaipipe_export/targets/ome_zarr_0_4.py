"""For programs that do not read Zarr v3 yet."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr

from xaipipe_export.exporter import Exporter
from xaipipe_export.result import Image, Level, Result

_CHUNK = 512
_BLOCK = 2048
_COMPRESSOR = {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1}
"""Blosc is what all implementations of Zarr v2 have."""
_VERSION = "0.4"


class OmeZarr04(Exporter):
    """For programs that read OME-Zarr 0.4 (Zarr v2, no shards): the whole result, pixel for pixel."""

    name = "ome-zarr-0.4"

    def write(self, result: Result, place: Path) -> Mapping[str, Any]:
        attributes = {"bioformats2raw.layout": 3, "xaipipe": dict(result.facts)}
        root = zarr.create_group(place, zarr_format=2, overwrite=True, attributes=attributes)
        series = root.create_group("OME", attributes={"series": list(result.images)})
        shutil.copyfile(result.path / "OME" / "METADATA.ome.xml", place / series.path / "METADATA.ome.xml")
        for name, image in result.images.items():
            _copy(root, name, image)
        if result.labels:
            root.create_group("heatmap/labels", attributes={"labels": list(result.labels)})
        for name, labels in result.labels.items():
            _copy(root, f"heatmap/labels/{name}", labels)
        return {"images": ", ".join(result.images), "labels": ", ".join(result.labels) or "none"}


def _copy(root: zarr.Group, path: str, image: Image) -> None:
    group = root.create_group(path, attributes=_attributes(image))
    for number, level in enumerate(image.levels):
        source = level.array
        channels = (1,) * (source.ndim - 2)
        copy = group.create_array(
            str(number),
            shape=source.shape,
            chunks=(*channels, _CHUNK, _CHUNK),
            dtype=source.dtype,
            fill_value=source.fill_value,
            compressors=_COMPRESSOR,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        _copy_pixels(level, copy)


def _copy_pixels(level: Level, copy: zarr.Array) -> None:
    for y in range(0, level.height, _BLOCK):
        for x in range(0, level.width, _BLOCK):
            box = level.read(y, x, _BLOCK, _BLOCK)
            copy[..., y : y + _BLOCK, x : x + _BLOCK] = box if copy.ndim == 3 else box[0]


def _attributes(image: Image) -> dict[str, Any]:
    """0.4 has the version in each part, and no `ome` around them."""
    ome = {name: part for name, part in image.attributes["ome"].items() if name != "version"}
    ome["multiscales"] = [{"version": _VERSION, **multiscale} for multiscale in ome["multiscales"]]
    for name in ("omero", "image-label"):
        if name in ome:
            ome[name] = {"version": _VERSION, **ome[name]}
    ours = {name: part for name, part in image.attributes.items() if name != "ome"}
    return {**ome, **ours}
