"""Resampled pixels are the means of what they cover: against a plain float64 definition, and in any box the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaipipe.antialias import Weights, reduced


def area_mean(line: np.ndarray, factor: float, index: int) -> np.ndarray:
    """The mean of a piecewise constant line over [index·factor, (index + 1)·factor), by its definition."""
    begin, end = index * factor, min((index + 1) * factor, len(line))
    total = np.zeros(line.shape[1:])
    for k in range(math.floor(begin), min(math.ceil(end), len(line))):
        total += (min(end, k + 1) - max(begin, k)) * line[k]
    return total / (end - begin)


def between(line: np.ndarray, factor: float, index: int) -> np.ndarray:
    """Linear interpolation at the new pixel's centre."""
    centre = min(max((index + 0.5) * factor - 0.5, 0), len(line) - 1)
    low = math.floor(centre)
    return line[low] + (centre - low) * (line[min(low + 1, len(line) - 1)] - line[low])


def defined(pixels: np.ndarray, factor: float, height: int, width: int) -> np.ndarray:
    mean = area_mean if factor >= 1 else between
    rows = np.stack([mean(pixels.astype(np.float64), factor, i) for i in range(height)])
    return np.stack([mean(rows.swapaxes(0, 1), factor, i) for i in range(width)], axis=1)


def whole(pixels: np.ndarray, factor: float) -> np.ndarray:
    h, w = (max(round(n / factor), 1) for n in pixels.shape[:2])
    return box(pixels, factor, 0, 0, h, w)


def box(pixels: np.ndarray, factor: float, y: int, x: int, h: int, w: int) -> np.ndarray:
    rows, columns = Weights(y, h, factor, len(pixels)), Weights(x, w, factor, pixels.shape[1])
    return reduced(pixels[rows.start : rows.stop, columns.start : columns.stop], rows, columns)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(
    factor=st.one_of(st.floats(0.5, 0.999), st.floats(1.0, 9.0), st.sampled_from([1.0, 2.0, 4.0, 2 / 3])),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_pixels_are_those_of_the_definition(factor: float, height: int, width: int) -> None:
    pixels = noise(height, width)
    got = whole(pixels, factor)
    # half a level of rounding at the end; the weights of an axis are off by 2^-15 each, at most 11 taps of 255 levels
    np.testing.assert_allclose(got, defined(pixels, factor, *got.shape[:2]), atol=0.5 + 2 * 11 * 255 / 2**15)


@given(factor=st.floats(0.5, 6.0), data=st.data())
def test_a_box_is_the_crop_of_the_whole(factor: float, data: st.DataObject) -> None:
    pixels = noise(61, 53)
    all_of_it = whole(pixels, factor)
    y, x = (data.draw(st.integers(0, n - 1)) for n in all_of_it.shape[:2])
    h, w = (data.draw(st.integers(1, n - start)) for n, start in zip(all_of_it.shape, (y, x), strict=False))
    np.testing.assert_array_equal(box(pixels, factor, y, x, h, w), all_of_it[y : y + h, x : x + w])


@pytest.mark.parametrize("factor", [0.8, 1.3, 2.0, 3.7])
def test_an_edge_between_two_pixels_stays_where_it_is(factor: float) -> None:
    """A ramp along x says at every pixel where its centre lies."""
    ramp = np.tile(np.arange(250, dtype=np.uint8)[None, :, None], (8, 1, 3))
    row = whole(ramp, factor)[0, :, 0]
    centres = (np.arange(len(row)) + 0.5) * factor - 0.5
    inside = centres < 249 - factor
    np.testing.assert_allclose(row[inside], centres[inside], atol=0.51)


@pytest.mark.parametrize("factor", [1.0, 1.7, 3.0])
def test_one_colour_stays_one_colour(factor: float) -> None:
    for value in (0, 1, 127, 255):
        assert (whole(np.full((30, 40, 3), value, np.uint8), factor) == value).all()


def test_stripes_too_fine_to_show_become_grey() -> None:
    """Every other row white: without antialiasing they would turn into wide false stripes."""
    stripes = np.zeros((400, 8, 3), np.uint8)
    stripes[::2] = 255
    column = whole(stripes, 3.9)[:, 0, 0].astype(int)
    assert abs(column - 127.5).max() <= 255 / 3.9 / 2 + 1
