"""Each rule of the pyramids against its definition, cell by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaipipe_store.reduction import mean_of_finite, most_frequent_label, rounded_mean

SIZES = [(1, 1), (1, 4), (5, 1), (4, 6), (7, 5), (2, 2), (33, 18)]


def by_definition(block: np.ndarray, one: Callable[[list], object]) -> np.ndarray:
    """`one` of the cells, in reading order, that each cell of the next level covers."""
    channels, height, width = block.shape
    result = np.empty((channels, -(-height // 2), -(-width // 2)), block.dtype)
    for c, y, x in np.ndindex(result.shape):
        result[c, y, x] = one(block[c, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel().tolist())
    return result


def one_mean(cells: list[float]) -> float:
    finite = [cell for cell in cells if np.isfinite(cell)]
    return sum(finite) / len(finite) if finite else np.nan


def one_rounded(cells: list[int]) -> int:
    return int(np.floor(sum(cells) / len(cells) + 0.5))


def one_label(cells: list[int]) -> int:
    votes = Counter(cell for cell in cells if cell)
    return max(votes, key=lambda label: (votes[label], -cells.index(label))) if votes else 0


@pytest.mark.parametrize("size", SIZES)
def test_a_maps_level_is_the_mean_of_the_cells_that_hold_a_value(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    block = generator.normal(size=(2, *size)).astype(np.float32)
    block[generator.random(block.shape) < 0.4] = np.nan
    np.testing.assert_allclose(mean_of_finite(block), by_definition(block, one_mean), rtol=1e-7)
    assert mean_of_finite(block).dtype == np.float32


@pytest.mark.parametrize("size", SIZES)
def test_an_images_level_is_the_rounded_mean(size: tuple[int, int]) -> None:
    block = np.random.default_rng(1).integers(0, 256, (3, *size), np.uint8)
    np.testing.assert_array_equal(rounded_mean(block), by_definition(block, one_rounded))


def test_white_stays_white_and_black_black() -> None:
    for value in (0, 255):
        assert (rounded_mean(np.full((3, 5, 5), value, np.uint8)) == value).all()


@given(st.lists(st.integers(0, 3), min_size=42, max_size=42), st.sampled_from([(6, 7), (7, 6), (1, 42), (42, 1)]))
def test_a_label_is_the_most_frequent_one(cells: list[int], size: tuple[int, int]) -> None:
    block = np.asarray(cells, np.uint32).reshape(1, *size)
    np.testing.assert_array_equal(most_frequent_label(block), by_definition(block, one_label))


def test_labels_are_not_invented_whatever_their_values() -> None:
    block = np.asarray([[[0, 4294967295], [4294967294, 0]]], np.uint32)
    assert most_frequent_label(block).tolist() == [[[4294967295]]]


def test_a_thin_object_does_not_vanish_at_any_level() -> None:
    labels = np.zeros((1, 200, 200), np.uint32)
    labels[0, 3, :] = 7
    labels[0, 100, 100] = 8
    while labels.shape[1] > 7:
        labels = most_frequent_label(labels)
        assert set(np.unique(labels).tolist()) == {0, 7, 8}
