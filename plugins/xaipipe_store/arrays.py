"""The Zarr groups and arrays of a result."""

from __future__ import annotations

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from xaipipe import Grid, Slide
from xaipipe.running.layout import ArraySpec, Layout
from xaipipe_store import ngff

_COPY_SHARD = 2048
_COLOURS = ("red", "green", "blue")


def image_specs(slide: Slide) -> tuple[ArraySpec, ...]:
    """An array for each level of a slide that is to be copied."""
    return tuple(
        ArraySpec(f"image/{i}", "image", _COLOURS, level.height, level.width, Grid(), _COPY_SHARD, "uint8")
        for i, level in enumerate(slide.levels)
    )


def array_path(spec: ArraySpec) -> str:
    """Where an array lies in the collection."""
    if spec.role == "image":
        return spec.name
    # under the map, whose number of levels they share, as NGFF wants it
    return f"heatmap/labels/{spec.name}/0" if spec.role == "labels" else f"{spec.name}/0"


def create_collection(store: zarr.abc.store.Store, layout: Layout, slide: Slide, chunk: int) -> None:
    """All groups with their metadata, all arrays empty."""
    root = zarr.create_group(store, zarr_format=3, attributes=ngff.collection(slide))
    maps = [spec for spec in layout.arrays if spec.role == "heatmap"]
    labels = [spec for spec in layout.arrays if spec.role == "labels"]
    images = [spec.name for spec in maps]
    if any(spec.role == "image" for spec in layout.arrays):
        root.create_group("image", attributes=ngff.slide_image(slide, layout))
        images.insert(0, "image")
    for spec in maps:
        root.create_group(spec.name, attributes=ngff.heatmap_image(spec, layout))
    if labels:
        root.create_group("heatmap/labels", attributes=ngff.label_list([spec.name for spec in labels]))
    for spec in labels:
        root.create_group(f"heatmap/labels/{spec.name}", attributes=ngff.label_image(spec, layout))
    for spec in layout.arrays:
        _create_array(root, spec, chunk)
    root.create_group("OME", attributes=ngff.series(images))


def _create_array(root: zarr.Group, spec: ArraySpec, chunk: int) -> None:
    plane = (spec.height, spec.width)
    side = ngff.chunk_side(spec.shard, chunk)
    labels = spec.role == "labels"
    root.create_array(
        array_path(spec),
        shape=plane if labels else (len(spec.channels), *plane),
        shards=(spec.shard,) * 2 if labels else (len(spec.channels), spec.shard, spec.shard),
        chunks=(side, side) if labels else (1, side, side),
        dtype=spec.dtype,
        fill_value={"heatmap": np.nan, "labels": 0, "image": 255}[spec.role],
        compressors=(ZstdCodec(level=3), Crc32cCodec()),
        dimension_names=("y", "x") if labels else ("c", "y", "x"),
    )
