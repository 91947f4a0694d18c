"""The Zarr groups and arrays of a result."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from xaipipe import Slide
from xaipipe.running.layout import ArraySpec, Layout
from xaipipe_store import ngff
from xaipipe_store.pyramid import split

_ORDER = ("image", "raw", "heatmap", "heatmap_display")
_FILL = {"heatmap": np.nan, "labels": 0, "image": 255, "display": 0}

Levels = list[ArraySpec]


def array_path(spec: ArraySpec) -> str:
    """Where an array lies in the collection."""
    base, level = split(spec.name)
    # labels lie under the map, whose number of levels they share, as NGFF wants it
    return f"heatmap/labels/{base}/{level}" if spec.role == "labels" else f"{base}/{level}"


def pyramids(layout: Layout) -> dict[str, Levels]:
    """Every image and label image of a result with its levels, large to small."""
    found: dict[str, Levels] = defaultdict(list)
    for spec in (*layout.arrays, *layout.derived):
        found[split(spec.name)[0]].append(spec)
    for levels in found.values():
        levels.sort(key=lambda spec: split(spec.name)[1])
    return dict(found)


def series(layout: Layout) -> dict[str, Levels]:
    """The images of a collection, without labels, in the order in which viewers list them."""
    images = {name: levels for name, levels in pyramids(layout).items() if levels[0].role != "labels"}
    known = [name for name in _ORDER if name in images]
    return {name: images[name] for name in (*known, *(name for name in images if name not in _ORDER))}


def create_collection(store: zarr.abc.store.Store, layout: Layout, slide: Slide, chunk: int) -> None:
    """All groups with their metadata, all arrays empty."""
    root = zarr.create_group(store, zarr_format=3, attributes=ngff.collection(slide))
    for name, levels in series(layout).items():
        root.create_group(name, attributes=ngff.image(name, levels, layout))
    labels = {name: levels for name, levels in pyramids(layout).items() if levels[0].role == "labels"}
    if labels:
        root.create_group("heatmap/labels", attributes=ngff.label_list(list(labels)))
    for name, levels in labels.items():
        root.create_group(f"heatmap/labels/{name}", attributes=ngff.label_image(name, levels, layout))
    for spec in (*layout.arrays, *layout.derived):
        _create_array(root, spec, chunk)
    root.create_group("OME", attributes=ngff.series(list(series(layout))))


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
        fill_value=_FILL[spec.role],
        compressors=(ZstdCodec(level=3), Crc32cCodec()),
        dimension_names=("y", "x") if labels else ("c", "y", "x"),
    )
