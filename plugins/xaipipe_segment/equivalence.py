"""Joining the components of regions: which labels of neighbouring regions are one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, maximum
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from xaipipe import Instance

_STRIDE = np.int64(1) << 32
"""Raster order as one integer: row · 2³² + column."""


@dataclass(frozen=True)
class RegionComponents:
    """The components of one region, one row each, and the labelled pixels on its border."""

    origin: tuple[int, int]
    first: np.ndarray
    """Raster position of the first pixel on the slide."""
    boxes: np.ndarray
    """[n, 4]: top, left, bottom, right on the slide."""
    areas: np.ndarray
    sums: np.ndarray
    """[n, 3]: of y, x and evidence."""
    peaks: np.ndarray
    border: np.ndarray
    """[m, 2]: raster position and local label."""


@dataclass(frozen=True)
class FittedComponents:
    """The slide's objects, and for every region which of them its local labels are (0: dropped)."""

    instances: tuple[Instance, ...]
    names: dict[tuple[int, int], np.ndarray]

    def relabelled(self, local: np.ndarray, origin: tuple[int, int]) -> np.ndarray:
        return self.names[origin][local]


def summarise(local: np.ndarray, origin: tuple[int, int], evidence: np.ndarray | None) -> RegionComponents:
    """What joining needs to know of a region whose components are labelled 1 … n."""
    boxes = [(box[0].start, box[1].start, box[0].stop, box[1].stop) for box in find_objects(local) if box is not None]
    n = len(boxes)
    ys, xs = np.nonzero(local)
    labels = local[ys, xs]
    weights = evidence[ys, xs].astype(np.float64) if evidence is not None else np.zeros(0)
    flat = (ys + origin[0]) * _STRIDE + xs + origin[1]
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, labels - 1, flat)
    counts = [np.bincount(labels, w, minlength=n + 1)[1:] for w in (ys + origin[0], xs + origin[1], weights)]
    on_border = (ys == 0) | (ys == local.shape[0] - 1) | (xs == 0) | (xs == local.shape[1] - 1)
    peaks = maximum(evidence, local, np.arange(1, n + 1)) if n else []
    return RegionComponents(
        origin=origin,
        first=first,
        boxes=np.asarray(boxes, np.int64).reshape(n, 4) + np.asarray([*origin, *origin]),
        areas=np.bincount(labels, minlength=n + 1)[1:],
        sums=np.stack(counts, axis=1),
        peaks=np.asarray(peaks, np.float64),
        border=np.stack([flat[on_border], labels[on_border].astype(np.int64)], axis=1),
    )


def join_regions(regions: Sequence[RegionComponents], neighbours: int, min_area: int) -> FittedComponents:
    """Objects of the whole slide, numbered by their first pixel in raster order."""
    starts = np.cumsum([0, *[len(region.areas) for region in regions]])
    total = int(starts[-1])
    group = _groups(regions, starts, neighbours)
    objects = _merged(regions, group, total)
    keep = np.flatnonzero(objects.areas >= min_area)
    order = keep[np.argsort(objects.first[keep], kind="stable")]
    number = np.zeros(len(objects.areas), np.uint32)
    number[order] = np.arange(1, len(order) + 1)
    names = {
        region.origin: np.concatenate([[0], number[group[start : start + len(region.areas)]]]).astype(np.uint32)
        for region, start in zip(regions, starts, strict=False)
    }
    return FittedComponents(tuple(_instance(objects, i, int(number[i])) for i in order), names)


def _groups(regions: Sequence[RegionComponents], starts: np.ndarray, neighbours: int) -> np.ndarray:
    """For every region's every component, the number of the object that it is part of."""
    total = int(starts[-1])
    if total == 0:
        return np.zeros(0, np.int64)
    borders = [region.border + np.asarray((0, start - 1)) for region, start in zip(regions, starts, strict=False)]
    pixels = np.concatenate(borders)
    pixels = pixels[np.argsort(pixels[:, 0])]
    steps = [(0, 1), (1, 0)] + ([(1, 1), (1, -1)] if neighbours == 8 else [])
    pairs = [_touching(pixels, dy * _STRIDE + dx) for dy, dx in steps]
    edges = np.concatenate(pairs)
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(total, total))
    return connected_components(graph, directed=False)[1]


def _touching(pixels: np.ndarray, step: np.int64) -> np.ndarray:
    """Pairs of components with a border pixel each, one step apart."""
    wanted = pixels[:, 0] + step
    found = np.searchsorted(pixels[:, 0], wanted).clip(max=len(pixels) - 1)
    hit = pixels[found, 0] == wanted
    return np.stack([pixels[hit, 1], pixels[found[hit], 1]], axis=1)


def _merged(regions: Sequence[RegionComponents], group: np.ndarray, total: int) -> RegionComponents:
    """One row an object: sums, extremes and first pixels of its parts."""
    n = int(group.max()) + 1 if total else 0
    parts = {
        name: np.concatenate([getattr(region, name) for region in regions])
        for name in ("first", "boxes", "areas", "sums", "peaks")
    }
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, group, parts["first"])
    boxes = np.tile(np.asarray([1, 1, -1, -1]) * np.iinfo(np.int64).max, (n, 1))
    np.minimum.at(boxes[:, :2], group, parts["boxes"][:, :2])
    np.maximum.at(boxes[:, 2:], group, parts["boxes"][:, 2:])
    areas, sums, peaks = np.zeros(n, np.int64), np.zeros((n, 3)), np.full(n, -np.inf)
    np.add.at(areas, group, parts["areas"])
    np.add.at(sums, group, parts["sums"])
    np.maximum.at(peaks, group, parts["peaks"])
    return RegionComponents((0, 0), first, boxes, areas, sums, peaks, np.zeros((0, 2), np.int64))


def _instance(objects: RegionComponents, i: int, number: int) -> Instance:
    top, left, bottom, right = (int(edge) for edge in objects.boxes[i])
    area = int(objects.areas[i])
    y, x, evidence = (float(total) / area for total in objects.sums[i])
    return Instance(number, top, left, bottom - top, right - left, area, y, x, float(objects.peaks[i]), evidence)
