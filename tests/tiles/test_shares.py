"""How much of a tile is what, against counting pixels; and what a tile is called that has too little tissue."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaipipe import Level, Tile
from xaipipe.testing import MemorySlide
from xaipipe_tiles.picture import Picture
from xaipipe_tiles.shares import background_of, class_shares
from xaipipe_tiles.tissue import BLUR, CLASSES, GLASS, PEN, TISSUE, TissueMask

STEP = 6
LABELS = np.random.default_rng(1).integers(0, 4, (20, 25)).astype(np.uint8)
PIXELS = LABELS.repeat(STEP, 0).repeat(STEP, 1)
SLIDE = MemorySlide([np.zeros((*PIXELS.shape, 3), np.uint8), np.zeros((40, 50, 3), np.uint8)])


def mask_of(labels: np.ndarray, step: float = STEP) -> TissueMask:
    return TissueMask(labels, Picture(np.zeros((*labels.shape, 3), np.uint8), step, None), 0.0, None)


@given(st.integers(0, 119), st.integers(0, 149), st.integers(1, 60), st.sampled_from([0, 1]))
def test_shares_are_those_of_the_pixels(y: int, x: int, side: int, level: int) -> None:
    scale = int(SLIDE.levels[level].downsample)
    y, x = y // scale, x // scale
    part = PIXELS[y * scale : (y + side) * scale, x * scale : (x + side) * scale]
    expected = [(part == index).mean() for index in range(len(CLASSES))]
    tiles = (Tile(SLIDE, level, 0, 0, 3, 3), Tile(SLIDE, level, y, x, side, side))
    np.testing.assert_allclose(class_shares(tiles, mask_of(LABELS))[1], expected, atol=1e-9)


def test_cells_larger_than_a_tile_are_cut() -> None:
    slide = MemorySlide([np.zeros((64, 64, 3), np.uint8)])
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    tiles = tuple(Tile(slide, 0, y, x, 8, 8) for y, x in ((0, 0), (28, 28), (40, 28)))
    shares = class_shares(tiles, mask_of(labels, 32.0))
    np.testing.assert_allclose(shares, [[1, 0, 0, 0], [0.25] * 4, [0, 0, 0.5, 0.5]])


def test_a_tile_beyond_a_level_that_is_a_little_larger_than_its_base_is_glass() -> None:
    slide = MemorySlide([np.zeros((64, 64, 3), np.uint8)])
    slide.levels = (Level(64, 64, 1.0),)
    tiles = (Tile(slide, 0, 64, 0, 8, 8),)
    assert background_of(tiles, mask_of(np.ones((2, 2), np.uint8), 32.0), 0.0) == ("glass",)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((GLASS, GLASS, GLASS, TISSUE), None),
        ((GLASS, GLASS, GLASS, GLASS), "glass"),
        ((GLASS, GLASS, GLASS, PEN), "pen"),
        ((PEN, BLUR, BLUR, GLASS), "out of focus"),
        ((PEN, PEN, BLUR, TISSUE), None),
    ],
)
def test_what_is_missing_gives_the_name(kinds: tuple[int, ...], expected: str | None) -> None:
    """A tile of four cells of which a quarter has to be tissue."""
    labels = np.array(kinds, np.uint8).reshape(2, 2)
    tile = Tile(SLIDE, 0, 0, 0, 2 * STEP, 2 * STEP)
    assert background_of((tile,), mask_of(labels), 0.25) == (expected,)


def test_too_little_with_all_that_was_rejected_is_glass() -> None:
    labels = np.array([[GLASS, GLASS], [GLASS, PEN]], np.uint8)
    tile = Tile(SLIDE, 0, 0, 0, 2 * STEP, 2 * STEP)
    assert background_of((tile,), mask_of(labels), 0.5) == ("glass",)


def test_no_tiles_have_no_answers() -> None:
    assert background_of((), mask_of(LABELS), 0.5) == ()
