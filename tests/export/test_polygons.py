"""Polygons of labels: exact, valid, and the same whatever strips they were found in."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import polygon2mask
from skimage.measure import label as components

from tests.export.results import discs
from xaipipe_export.polygons import Polygon, area, label_polygons


def traced(labels: np.ndarray, rows: int, ends: dict[int, int] | None = None) -> list[tuple[int, list[Polygon]]]:
    height, width = labels.shape
    return list(label_polygons(lambda top, count: labels[top : top + count], height, width, ends or {}, rows))


def filled(shape: tuple[int, int], polygon: Polygon) -> np.ndarray:
    """The pixels whose centres a polygon holds, by somebody else's rasteriser; corners lie between centres."""
    masks = [polygon2mask(shape, ring[:, ::-1] - 0.5) for ring in polygon]
    return masks[0] & ~np.any(masks[1:], axis=0) if len(masks) > 1 else masks[0]


def check_exact(labels: np.ndarray, rows: int) -> None:
    back = np.zeros_like(labels)
    for value, polygons in traced(labels, rows):
        patches = components(labels == value, connectivity=1)
        assert len(polygons) == patches.max()
        for polygon in polygons:
            shape = shapely.Polygon(polygon[0], polygon[1:])
            assert shape.is_valid, shapely.is_valid_reason(shape)
            assert area(polygon[0]) > 0 > max((area(hole) for hole in polygon[1:]), default=-1)
            pixels = filled(labels.shape, polygon)
            assert shape.area == pixels.sum()
            assert not back[pixels].any()
            back[pixels] = value
    np.testing.assert_array_equal(back, labels)


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_filling_the_polygons_gives_the_labels_back(rows: int) -> None:
    check_exact(discs(90, 110, 40), rows)


@given(
    st.integers(1, 9).flatmap(
        lambda width: st.lists(st.lists(st.integers(0, 2), min_size=width, max_size=width), min_size=1, max_size=9)
    ),
    st.integers(1, 10),
)
def test_any_labels_come_back(cells: list[list[int]], rows: int) -> None:
    """Among them those whose patches meet over corners, and those with holes in holes."""
    check_exact(np.asarray(cells, np.uint32), rows)


def test_strips_do_not_show() -> None:
    labels = discs(90, 110, 40, seed=3)
    whole = dict(traced(labels, 1000))
    for rows in (1, 13, 32):
        strips = dict(traced(labels, rows))
        assert strips.keys() == whole.keys()
        for value, polygons in whole.items():
            for one, two in zip(polygons, strips[value], strict=True):
                for ring, other in zip(one, two, strict=True):
                    np.testing.assert_array_equal(ring, other)


def test_a_hole_that_touches_its_shell_over_a_corner_is_a_hole() -> None:
    labels = np.asarray([[1, 1, 0], [1, 0, 1], [1, 1, 1]], np.uint32)
    ((_, [(shell, hole)]),) = traced(labels, 10)
    assert (area(shell), area(hole)) == (8, -1)


def test_vertices_are_corners_only() -> None:
    labels = np.zeros((40, 50), np.uint32)
    labels[3:37, 5:45] = 9
    for rows in (1, 8, 100):
        ((value, [(shell,)]),) = traced(labels, rows)
        assert value == 9
        assert shell.tolist() == [[5, 3], [45, 3], [45, 37], [5, 37], [5, 3]]


def test_a_label_is_given_as_soon_as_it_has_ended() -> None:
    labels = np.zeros((100, 10), np.uint32)
    labels[1:3], labels[50:52] = 1, 2
    seen: list[int] = []

    def read(top: int, count: int) -> np.ndarray:
        seen.append(top)
        return labels[top : top + count]

    first = next(label_polygons(read, 100, 10, {1: 3, 2: 52}, 10))
    assert (first[0], seen) == (1, [0])


def test_the_largest_label_is_one_like_others() -> None:
    labels = np.full((2, 2), 4294967295, np.uint32)
    assert [value for value, _ in traced(labels, 1)] == [4294967295]
