"""Noise belongs to the coordinate, not to the window."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaipipe_demo.noise import Box, field, hashed, octaves, salted, uniform

coordinates = st.integers(-2000, 100_000)
sides = st.integers(1, 70)


@given(coordinates, coordinates, sides, sides, st.sampled_from([(2, 1), (8, 1), (32, 8), (256, 8)]))
def test_a_window_is_cut_from_the_same_field(y: int, x: int, h: int, w: int, scales: tuple[int, int]) -> None:
    wide = Box(y - 3, x - 5, h + 9, w + 7)
    period, step = scales
    inside = field(7, wide, period, step)[3 : 3 + h, 5 : 5 + w]
    np.testing.assert_array_equal(field(7, Box(y, x, h, w), period, step), inside)


@pytest.mark.parametrize("period", [2, 8, 64])
def test_variance_is_one(period: int) -> None:
    values = field(3, Box(0, 0, 64 * period, 16 * period), period)
    assert abs(values.mean()) < 0.12
    assert values.std() == pytest.approx(1, abs=0.1)


def test_octaves_add_up() -> None:
    box = Box(5, 9, 40, 50)
    both = octaves(1, box, {8: 0.5, 32: 2.0})
    parts = octaves(1, box, {8: 0.5}) + octaves(1, box, {32: 2.0})
    np.testing.assert_allclose(both, parts, atol=1e-6)


def test_hashes_are_spread_evenly_and_differ_by_key() -> None:
    box = Box(-100, 99_000, 200, 200)
    values = uniform(salted(1, 2), box.rows(), box.columns())
    assert np.histogram(values, 16, (0, 1))[0].min() > 0.9 * values.size / 16
    other = uniform(salted(1, 3), box.rows(), box.columns())
    assert abs(np.corrcoef(values.ravel(), other.ravel())[0, 1]) < 0.02
    assert len(np.unique(hashed(0, box.rows(), box.columns()))) > 0.999 * values.size
