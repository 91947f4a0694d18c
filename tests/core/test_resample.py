"""Interpolation against the formula, one pixel at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xaipipe import Grid, fused, to_pixels


def slow(values: torch.Tensor, grid: Grid, y: float, x: float) -> float:
    """The bilinear value at one place, from the definition."""
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


def slow_fused(maps: list[torch.Tensor], grids: list[Grid]) -> torch.Tensor:
    """One cell at a time, from the definition: the mean evidence per pixel, times the finest cell's area."""
    areas = [grid.scale[0] * grid.scale[1] for grid in grids]
    finest = min(range(len(grids)), key=areas.__getitem__)
    result = torch.zeros(maps[finest].shape[2:], dtype=torch.float64)
    for row in range(result.shape[0]):
        for column in range(result.shape[1]):
            at = [grids[finest].offset[a] + (row, column)[a] * grids[finest].scale[a] for a in (0, 1)]
            for values, grid, area in zip(maps, grids, areas, strict=True):
                result[row, column] += slow(values[0, 0], grid, *at) / area / len(maps)
    return result * areas[finest]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0), (1,)])
def test_maps_are_fused_as_the_definition_says(order: tuple[int, ...]) -> None:
    known = [
        (torch.randn(1, 1, 3, 4, dtype=torch.float64), Grid((16.0, 16.0), (0.0, 7.5))),
        (torch.randn(1, 1, 7, 9, dtype=torch.float64), Grid((8.0, 8.0), (3.5, 0.0))),
        (torch.randn(1, 1, 4, 5, dtype=torch.float64), Grid((10.0, 14.0), (-2.0, 1.0))),
    ]
    maps, grids = [known[i][0] for i in order], [known[i][1] for i in order]
    got, grid = fused(maps, grids)
    assert grid == known[1][1]
    torch.testing.assert_close(got[0, 0], slow_fused(maps, grids), rtol=0, atol=1e-12)


def test_layers_of_the_same_evidence_keep_it() -> None:
    """What is spread evenly over the image is the same sum in wide cells and in narrow ones."""
    wide, narrow = torch.full((1, 1, 4, 4), 4.0), torch.full((1, 1, 8, 8), 1.0)
    got, grid = fused([wide, narrow], [Grid((8.0, 8.0), (3.5, 3.5)), Grid((4.0, 4.0), (1.5, 1.5))])
    assert grid.scale == (4, 4)
    torch.testing.assert_close(got, torch.ones(1, 1, 8, 8))


def test_fusing_is_linear_and_keeps_signs() -> None:
    first, second = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)
    grids = [Grid((8.0, 8.0)), Grid((4.0, 4.0))]
    one, _ = fused([first, second], grids)
    torch.testing.assert_close(fused([-2 * first, -2 * second], grids)[0], -2 * one)
    torch.testing.assert_close(fused([first[1:], second[1:]], grids)[0], one[1:])
