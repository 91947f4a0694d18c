"""OME-NGFF 0.5 metadata: where every pixel lies in micrometres, and how a viewer should show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xaipipe import Histogram, Slide
from xaipipe.running.layout import ArraySpec, Layout

VERSION = "0.5"
_SMALLEST_CHUNK = 64
_LABEL_COLOUR = [255, 200, 0, 160]


def collection(slide: Slide) -> dict[str, Any]:
    """The root: a collection of images, and the mark that it is ours."""
    source = {"file": slide.name, "fingerprint": slide.fingerprint}
    return {"ome": {"version": VERSION, "bioformats2raw.layout": 3}, "xaipipe": {"source": source}}


def series(images: Sequence[str]) -> dict[str, Any]:
    return {"ome": {"version": VERSION, "series": list(images)}}


def heatmap_image(spec: ArraySpec, layout: Layout) -> dict[str, Any]:
    centre = (spec.grid.offset[0], spec.grid.offset[1])
    return _image(spec.name, ("c", "y", "x"), [("0", spec.grid.scale[0] * layout.downsample, centre)], layout)


def label_image(spec: ArraySpec, layout: Layout) -> dict[str, Any]:
    attributes = _image(spec.name, ("y", "x"), [("0", layout.downsample, (0.0, 0.0))], layout)
    attributes["ome"]["image-label"] = {
        "colors": [{"label-value": 1, "rgba": _LABEL_COLOUR}],
        "source": {"image": "../../"},
    }
    return attributes


def label_list(spec: ArraySpec) -> dict[str, Any]:
    return {"ome": {"version": VERSION, "labels": [spec.name]}}


def slide_image(slide: Slide, layout: Layout) -> dict[str, Any]:
    """The copied slide with all its levels; each level's first pixel has its centre further in."""
    levels = [(str(i), level.downsample, None) for i, level in enumerate(slide.levels)]
    attributes = _image("image", ("c", "y", "x"), levels, layout)
    window = {"min": 0.0, "max": 255.0, "start": 0.0, "end": 255.0}
    attributes["ome"]["omero"] = {
        "channels": [
            {"label": label, "color": colour, "window": window, "active": True}
            for label, colour in (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
        ],
        "rdefs": {"model": "color"},
    }
    return attributes


def with_display(attributes: Mapping[str, Any], spec: ArraySpec, histogram: Histogram) -> dict[str, Any]:
    """The window in which a viewer shows a map: the slide's own percentiles; symmetric where values are signed."""
    low, high = histogram.percentile(0.1), histogram.percentile(99.9)
    if low < 0 < high:
        low, high = -max(-low, high), max(-low, high)
    low, high = min(low, 0.0), max(high, low + 1e-12)
    window = {"min": low, "max": high, "start": low, "end": high}
    channels = [{"label": name, "color": "FF5A00", "window": window, "active": True} for name in spec.channels]
    ome = {**attributes["ome"], "omero": {"channels": channels, "rdefs": {"model": "color"}}}
    return {**attributes, "ome": ome}


def with_manifest(attributes: Mapping[str, Any], manifest: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    arrays = {spec.name: {"scale": spec.grid.scale, "offset": spec.grid.offset} for spec in layout.arrays}
    ours = {**attributes["xaipipe"], **manifest, "arrays": arrays, "complete": True}
    return {**attributes, "xaipipe": ours}


def chunk_side(shard: int, largest: int) -> int:
    """The largest divisor of a shard's side that is not larger than wanted; all of it where that would be tiny."""
    side = next(side for side in range(min(shard, largest), 0, -1) if shard % side == 0)
    return side if side >= min(shard, _SMALLEST_CHUNK) else shard


def _image(
    name: str,
    axes: Sequence[str],
    levels: Sequence[tuple[str, float, tuple[float, float] | None]],
    layout: Layout,
) -> dict[str, Any]:
    """A multiscale image. A level: its path, level-0 pixels per cell, and the centre of its first cell in pixels of
    the explained level (None: its cells fill the slide from the corner on)."""
    space = {"type": "space", "unit": "micrometer"} if layout.mpp else {"type": "space"}
    unit = layout.mpp or 1.0
    channel = [1.0] * (len(axes) - 2)
    datasets = []
    for path, span, centre in levels:
        corner = (span - 1) / 2
        first = [corner, corner] if centre is None else [_level_0(c, layout) for c in centre]
        datasets.append(
            {
                "path": path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": [*channel, span * unit, span * unit]},
                    {
                        "type": "translation",
                        "translation": [*(0.0 for _ in channel), *(f * unit for f in first)],
                    },
                ],
            }
        )
    described = [{"name": a, **({"type": "channel"} if a == "c" else space)} for a in axes]
    return {"ome": {"version": VERSION, "multiscales": [{"name": name, "axes": described, "datasets": datasets}]}}


def _level_0(position: float, layout: Layout) -> float:
    """From pixels of the explained level to level-0 pixels; pixel centres are integers on both."""
    return (position + 0.5) * layout.downsample - 0.5
