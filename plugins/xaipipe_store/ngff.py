"""OME-NGFF 0.5 metadata: where every pixel lies in micrometres, and how a viewer should show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xaipipe import Slide
from xaipipe.running.layout import BACKGROUND, EXPLAINED, STATUS, UNREADABLE, ArraySpec, Layout
from xaipipe_store.reduction import METHODS
from xaipipe_store.window import Window

VERSION = "0.5"
MAP_COLOUR = "FF5A00"
_SMALLEST_CHUNK = 64
_LABEL_COLOURS = ([255, 200, 0, 160], [0, 120, 255, 160], [160, 0, 200, 160])
"""Of the label values 1, 2, 3; then they begin again."""
_STATUS_COLOURS = {BACKGROUND: [0, 0, 0, 0], EXPLAINED: [0, 160, 80, 40], UNREADABLE: [220, 0, 60, 200]}
_RGB = {"red": "FF0000", "green": "00FF00", "blue": "0000FF"}
_BYTES = {"min": 0.0, "max": 255.0, "start": 0.0, "end": 255.0}


def collection(slide: Slide) -> dict[str, Any]:
    """The root: a collection of images, and the mark that it is ours."""
    source = {"file": slide.name, "fingerprint": slide.fingerprint}
    return {"ome": {"version": VERSION, "bioformats2raw.layout": 3}, "xaipipe": {"source": source}}


def series(images: Sequence[str]) -> dict[str, Any]:
    return {"ome": {"version": VERSION, "series": list(images)}}


def image(name: str, levels: Sequence[ArraySpec], layout: Layout) -> dict[str, Any]:
    """An image with all its levels; what bytes mean in colours is known, what a map's values mean is not yet."""
    attributes = _multiscale(name, ("c", "y", "x"), levels, layout)
    if levels[0].role in ("image", "display"):
        colours = [_RGB.get(channel, MAP_COLOUR) for channel in levels[0].channels]
        attributes["ome"]["omero"] = _omero(levels[0], colours, _BYTES)
    return attributes


def label_image(name: str, levels: Sequence[ArraySpec], layout: Layout) -> dict[str, Any]:
    """Labels with a colour each; those that have names say them."""
    classes = levels[0].classes
    values = range(len(classes)) if classes else (1,)
    colours = _STATUS_COLOURS if name == STATUS else {value: _label_colour(value) for value in values}
    described: dict[str, Any] = {"source": {"image": "../../"}}
    described["colors"] = [{"label-value": value, "rgba": colours[value]} for value in values]
    if classes:
        described["properties"] = [{"label-value": value, "name": classes[value]} for value in values]
    attributes = _multiscale(name, ("y", "x"), levels, layout)
    attributes["ome"]["image-label"] = described
    return attributes


def _label_colour(value: int) -> list[int]:
    return _LABEL_COLOURS[(value - 1) % len(_LABEL_COLOURS)] if value else [0, 0, 0, 0]


def label_list(names: Sequence[str]) -> dict[str, Any]:
    return {"ome": {"version": VERSION, "labels": list(names)}}


def with_window(attributes: Mapping[str, Any], spec: ArraySpec, window: Window) -> dict[str, Any]:
    """A map's group with the window in which a viewer shows it."""
    edges = {"min": window.low, "max": window.high, "start": window.low, "end": window.high}
    omero = _omero(spec, [MAP_COLOUR] * len(spec.channels), edges)
    return {**attributes, "ome": {**attributes["ome"], "omero": omero}}


def with_display(attributes: Mapping[str, Any], window: Window) -> dict[str, Any]:
    """The display copy's group with what its bytes stand for."""
    return {**attributes, "xaipipe": {"display_of": "heatmap", **window.facts}}


def with_manifest(attributes: Mapping[str, Any], manifest: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    arrays = {spec.name: {"scale": spec.grid.scale, "offset": spec.grid.offset} for spec in layout.arrays}
    ours = {**attributes["xaipipe"], **manifest, "arrays": arrays, "complete": True}
    return {**attributes, "xaipipe": ours}


def chunk_side(shard: int, largest: int) -> int:
    """The largest divisor of a shard's side that is not larger than wanted; all of it where that would be tiny."""
    side = next(side for side in range(min(shard, largest), 0, -1) if shard % side == 0)
    return side if side >= min(shard, _SMALLEST_CHUNK) else shard


def placement(spec: ArraySpec, layout: Layout) -> tuple[float, tuple[float, float]]:
    """An array's cells in level-0 pixels: how wide, and where the centre (y, x) of the first lies."""
    # pixel centres are integers on both the explained level and level 0
    y, x = ((centre + 0.5) * layout.downsample - 0.5 for centre in spec.grid.offset)
    return spec.grid.scale[0] * layout.downsample, (y, x)


def _omero(spec: ArraySpec, colours: Sequence[str], window: Mapping[str, float]) -> dict[str, Any]:
    channels = [
        {"label": label, "color": colour, "window": dict(window), "active": True}
        for label, colour in zip(spec.channels, colours, strict=True)
    ]
    return {"channels": channels, "rdefs": {"model": "color"}}


def _multiscale(name: str, axes: Sequence[str], levels: Sequence[ArraySpec], layout: Layout) -> dict[str, Any]:
    space = {"type": "space", "unit": "micrometer"} if layout.mpp else {"type": "space"}
    multiscale: dict[str, Any] = {
        "name": name,
        "axes": [{"name": axis, **({"type": "channel"} if axis == "c" else space)} for axis in axes],
        "datasets": [_dataset(level, spec, layout) for level, spec in enumerate(levels)],
    }
    if len(levels) > 1:
        method, description = METHODS[levels[0].role]
        multiscale |= {"type": method, "metadata": {"description": description}}
    return {"ome": {"version": VERSION, "multiscales": [multiscale]}}


def _dataset(level: int, spec: ArraySpec, layout: Layout) -> dict[str, Any]:
    span, first = placement(spec, layout)
    unit = layout.mpp or 1.0
    channel = () if spec.role == "labels" else (0.0,)
    return {
        "path": str(level),
        "coordinateTransformations": [
            {"type": "scale", "scale": [*(1.0 for _ in channel), span * unit, span * unit]},
            {"type": "translation", "translation": [*channel, first[0] * unit, first[1] * unit]},
        ],
    }
