"""Polygons from a label image, exact to the pixel: corners of pixels are their vertices.

Rings are simple: where a boundary comes back to a corner it is cut in two. Shells have their inside on the left where
y counts up, as RFC 7946 wants it; holes on the right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from xaipipe_export.patches import Closed, Edges, Rows, closed_patches

Ring = np.ndarray
"""[n, 2]: x, y of corners; the last is the first."""
Polygon = list[Ring]
"""A shell, then its holes."""


def label_polygons(
    read: Rows, height: int, width: int, ends: Mapping[int, int], rows: int
) -> Iterator[tuple[int, list[Polygon]]]:
    """Every label with its polygons, one a patch that is connected over edges.

    `ends` names the row below the last of a label, where that is known; the others are kept until the end.
    """
    waiting: dict[int, list[Polygon]] = defaultdict(list)
    for closed in closed_patches(read, height, width, rows):
        for value, polygon in _polygons(closed):
            waiting[value].append(polygon)
        for value in sorted(value for value in waiting if ends.get(value, height + 1) < closed.seen):
            yield value, _in_order(waiting.pop(value))
    for value in sorted(waiting):
        yield value, _in_order(waiting[value])


def area(ring: Ring) -> float:
    """In pixels; negative for holes."""
    x, y = ring[:, 0].astype(np.float64), ring[:, 1].astype(np.float64)
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def _in_order(polygons: list[Polygon]) -> list[Polygon]:
    """By their first corner, so that the order does not depend on strips."""
    return sorted(polygons, key=lambda polygon: (int(polygon[0][0, 1]), int(polygon[0][0, 0])))


def _polygons(closed: Closed) -> Iterator[tuple[int, Polygon]]:
    """Each patch's shell and holes."""
    rings: dict[int, Polygon] = defaultdict(list)
    edges = _sorted(closed.edges)
    for walk in _walks(_next_edges(edges)):
        first = int(edges.patch[walk[0]])
        rings[first].extend(_simple(_corners(edges, np.asarray(walk))))
    for patch, parts in rings.items():
        shell = next(index for index, ring in enumerate(parts) if area(ring) > 0)
        yield int(closed.labels[patch]), [parts.pop(shell), *parts]


def _sorted(edges: Edges) -> Edges:
    order = np.lexsort((edges.left, edges.y, edges.patch))
    return edges.where(order, edges.patch)


def _next_edges(edges: Edges) -> list[int]:
    """For each edge, the edge that follows it on the boundary.

    The vertical edges of a patch pair the ends of its horizontal ones: in a column of corners, sorted downwards, first
    with second, third with fourth. Where a patch meets itself over a corner two ends lie on it, and the one whose
    patch is above comes first: its vertical edge goes up.
    """
    count = len(edges.y)
    forward = edges.direction > 0
    starts = np.where(forward, edges.left, edges.right)
    stops = np.where(forward, edges.right, edges.left)
    x = np.concatenate([starts, stops])
    y, patch, direction = (np.concatenate([one, one]) for one in (edges.y, edges.patch, edges.direction))
    pairs = np.lexsort((direction, y, x, patch)).reshape(-1, 2)
    is_stop = pairs >= count
    following = np.empty(count, np.int64)
    following[pairs[is_stop] - count] = pairs[~is_stop]
    return following.tolist()


def _walks(following: list[int]) -> Iterator[list[int]]:
    """The edges of every closed boundary, in its order."""
    seen = bytearray(len(following))
    for start in range(len(following)):
        if not seen[start]:
            walk, edge = [], start
            while not seen[edge]:
                seen[edge] = 1
                walk.append(edge)
                edge = following[edge]
            yield walk


def _corners(edges: Edges, walk: np.ndarray) -> Ring:
    """The corners of a boundary, the first once more at the end."""
    forward = edges.direction[walk] > 0
    left, right, y = edges.left[walk], edges.right[walk], edges.y[walk]
    corners = np.empty((2 * len(walk) + 1, 2), np.int64)
    corners[0:-1:2, 0], corners[1::2, 0] = np.where(forward, left, right), np.where(forward, right, left)
    corners[0:-1:2, 1] = corners[1::2, 1] = y
    corners[-1] = corners[0]
    return corners


def _simple(ring: Ring) -> list[Ring]:
    """A ring cut wherever it comes back to one of its corners."""
    points = [tuple(point) for point in ring[:-1].tolist()]
    if len(set(points)) == len(points):
        return [ring]
    parts: list[Ring] = []
    path: list[tuple[int, int]] = []
    place: dict[tuple[int, int], int] = {}
    for point in [*points, points[0]]:
        if point in place:
            loop = path[place[point] :]
            parts.append(np.asarray([*loop, loop[0]], np.int64))
            for left in loop[1:]:
                del place[left]
            del path[place[point] + 1 :]
        else:
            place[point] = len(path)
            path.append(point)
    return parts
