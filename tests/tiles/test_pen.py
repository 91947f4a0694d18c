"""Ink is told from stains, in whatever mixture they come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from tests.tiles.drawn import GLASS, INKS, STAINS, Drawing
from xaipipe_tiles.pen import ink

CELL = 8.0
amounts = st.lists(st.floats(0, 3), min_size=3, max_size=3)


def patch(density: np.ndarray) -> np.ndarray:
    """30 × 30 cells of one colour, far larger than the smallest stroke."""
    light = np.asarray(GLASS) * np.exp(-density)
    return np.broadcast_to(light.round().clip(0, 255).astype(np.uint8), (30, 30, 3))


@given(amounts)
def test_no_mixture_of_haematoxylin_and_eosin_is_ink(mixture: list[float]) -> None:
    names = ("haematoxylin", "bluest haematoxylin", "eosin")
    density = sum(amount * np.asarray(STAINS[name]) for amount, name in zip(mixture, names, strict=True))
    assert not ink(patch(np.asarray(density)), GLASS, CELL).any()


@given(st.floats(0, 1.5), st.floats(0, 3), st.sampled_from(["haematoxylin", "bluest haematoxylin"]))
def test_brown_is_no_ink(counterstain: float, brown: float, name: str) -> None:
    """A counterstain as strong as the brown over all of a large area does not occur: brown hides it."""
    counterstain = min(counterstain, 0.5 * brown + 0.4)
    density = counterstain * np.asarray(STAINS[name]) + brown * np.asarray(STAINS["dab"])
    assert not ink(patch(density), GLASS, CELL).any()


@pytest.mark.parametrize("colour", sorted(INKS))
@pytest.mark.parametrize("strength", [0.8, 1.0, 1.5])
def test_ink_on_glass_is_ink(colour: str, strength: float) -> None:
    assert ink(patch(strength * np.asarray(INKS[colour])), GLASS, CELL).all()


@pytest.mark.parametrize("colour", sorted(INKS))
def test_ink_is_followed_over_dense_tissue(colour: str) -> None:
    drawing = Drawing(120, 120)
    drawing.stain(drawing.x >= 40, {"haematoxylin": 0.6, "eosin": 0.4})
    drawing.mark(drawing.box(40, 0, 80, 120), colour)
    marked = ink(drawing.pixels(), GLASS, CELL)
    assert marked[41:79].all()
    assert not marked[:37].any()
    assert not marked[83:].any()


def test_a_dyed_margin_is_tissue() -> None:
    """Spots of blue-green dye as surgeons use it, smaller than any stroke."""
    drawing = Drawing(120, 120)
    drawing.stain(drawing.x >= 40)
    for y in range(10, 120, 20):
        drawing.mark(drawing.disc(y, 42, 3), "blue")
    assert not ink(drawing.pixels(), GLASS, CELL).any()


def test_the_line_between_glass_and_black_padding_is_no_ink() -> None:
    pixels = Drawing(120, 120).pixels()
    pixels[:60] = 0
    pixels[60] = 60
    assert not ink(pixels, GLASS, CELL).any()


def test_marks_are_as_large_as_they_are_whatever_the_cell() -> None:
    drawing = Drawing(240, 240)
    stroke = drawing.box(100, 0, 160, 240)
    drawing.mark(stroke, "green")
    for cell in (4.0, 8.0, 16.0):
        marked = ink(drawing.pixels(), GLASS, cell)
        fringe = ndimage.binary_dilation(stroke, np.ones((3, 3)), iterations=4)
        assert (marked >= stroke).all()
        assert (marked <= fringe).all()
