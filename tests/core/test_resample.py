"""Interpolation against the formula, one pixel at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xaipipe import Grid, to_pixels


def slow(values: torch.Tensor, grid: Grid, y: int, x: int) -> float:
    """The bilinear value at one pixel, from the definition."""
    result = 0.0
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            cy = min(max((y - grid.offset[0]) / grid.scale[0], 0), values.shape[0] - 1)
            cx = min(max((x - grid.offset[1]) / grid.scale[1], 0), values.shape[1] - 1)
            result += max(1 - abs(cy - row), 0) * max(1 - abs(cx - column), 0) * float(values[row, column])
    return result


@given(
    h=st.integers(1, 4),
    w=st.integers(1, 4),
    scale=st.sampled_from([0.5, 1.0, 2.0, 7.0, 32.0]),
    offset=st.floats(-20, 20),
    origin=st.integers(-5, 40),
)
def test_every_pixel_is_what_the_definition_says(h: int, w: int, scale: float, offset: float, origin: int) -> None:
    values = torch.randn(1, 1, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(h * 7 + w))
    grid = Grid((scale, scale * 1.5), (offset, -offset / 2))
    got = to_pixels(values, grid, (3, 4), (origin, origin + 1))[0, 0]
    expected = [[slow(values[0, 0], grid, origin + y, origin + 1 + x) for x in range(4)] for y in range(3)]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_cells_of_one_pixel_come_back_as_they_are() -> None:
    values = torch.randn(2, 3, 5, 6)
    assert torch.equal(to_pixels(values, Grid(), (5, 6)), values)


def test_the_input_is_not_changed() -> None:
    values = torch.randn(1, 1, 3, 3)
    before = values.clone()
    to_pixels(values, Grid((4.0, 4.0), (1.5, 1.5)), (12, 12))
    assert torch.equal(values, before)


@pytest.mark.parametrize("centre", [(31.0, 63.0), (15.5, 47.5)])
def test_a_cell_peaks_at_its_stated_centre(centre: tuple[float, float]) -> None:
    """Plain upsampling would put it half a stride away."""
    values = torch.zeros(1, 1, 6, 6)
    values[0, 0, 0, 1] = 1
    grid = Grid((32.0, 32.0), (centre[0], centre[1] - 32))
    pixels = to_pixels(values, grid, (192, 192))[0, 0]
    peak = (pixels == pixels.max()).nonzero().float().mean(dim=0)
    assert math.isclose(float(peak[1]), centre[1], abs_tol=0.5)
