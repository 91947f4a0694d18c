"""Slides at any resolution: which level is taken, what is made of it, and what is said about it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.core.test_antialias import whole
from tests.frugal import frugal
from xaipipe import InputError, Level, Slide
from xaipipe.resolution import StatedResolution, at_resolution
from xaipipe.testing import MemorySlide, striped_pixels


def pyramid(mpp: float | None = 0.25) -> MemorySlide:
    pixels = striped_pixels(240, 304)
    return MemorySlide((pixels, np.ascontiguousarray(pixels[::4, ::4])), mpp=mpp)


@pytest.mark.parametrize(("wanted", "level"), [(None, 0), (0.25, 0), (0.2524, 0), (0.2476, 0), (1.0, 1), (1.009, 1)])
def test_a_level_within_a_hundredth_is_used_as_it_is(wanted: float | None, level: int) -> None:
    slide = pyramid()
    assert at_resolution(slide, wanted) == (slide, level)
    assert slide.notes == ()


@pytest.mark.parametrize(
    ("wanted", "level", "source", "size"),
    [(0.5, 1, 0, (120, 152)), (0.3, 1, 0, (200, 253)), (1.5, 2, 1, (40, 51)), (0.2, 1, 0, (300, 380))],
)
def test_otherwise_a_level_is_made_from_the_next_finer_one(
    wanted: float, level: int, source: int, size: tuple[int, int]
) -> None:
    inner = pyramid()
    slide, index = at_resolution(inner, wanted)
    made = slide.levels[index]
    assert index == level
    assert (made.height, made.width) == size
    assert made.downsample * inner.mpp == pytest.approx(wanted)
    base = inner.levels[source]
    pixels = inner.read(source, 0, 0, base.height, base.width)
    np.testing.assert_array_equal(slide.read(index, 0, 0, *size), whole(pixels, made.downsample / base.downsample))


def test_the_other_levels_stay_what_they_were() -> None:
    inner = pyramid()
    slide, index = at_resolution(inner, 0.5)
    assert [level for i, level in enumerate(slide.levels) if i != index] == list(inner.levels)
    np.testing.assert_array_equal(slide.read(0, 7, 9, 50, 60), inner.read(0, 7, 9, 50, 60))
    np.testing.assert_array_equal(slide.read(2, 3, 4, 20, 30), inner.read(1, 3, 4, 20, 30))
    assert slide.original is inner
    assert (slide.name, slide.location, slide.fingerprint) == (inner.name, inner.location, inner.fingerprint)


def test_boxes_are_crops_of_the_made_level_from_any_thread() -> None:
    """Larger than a block, so that boxes begin in the middle of blocks too."""
    slide, index = at_resolution(MemorySlide((striped_pixels(2300, 1700),), mpp=0.25), 0.33)
    made = slide.levels[index]
    everything = slide.read(index, 0, 0, made.height, made.width)
    rng = np.random.default_rng(0)
    boxes = [(int(rng.integers(made.height - 300)), int(rng.integers(made.width - 200)), 300, 200) for _ in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for (y, x, h, w), got in zip(boxes, pool.map(lambda b: slide.read(index, *b), boxes), strict=True):
            np.testing.assert_array_equal(got, everything[y : y + h, x : x + w])


def test_what_is_made_is_said() -> None:
    assert at_resolution(pyramid(), 0.5)[0].notes == ("level 0 at 0.25 µm per pixel is resampled to 0.5",)
    enlarged = at_resolution(pyramid(), 0.2)[0].notes
    assert enlarged == ("level 0 at 0.25 µm per pixel is enlarged to 0.2: its pixels hold no finer detail",)


def test_more_than_twice_is_refused() -> None:
    assert at_resolution(pyramid(), 0.125)[0].levels[1].height == 480
    with pytest.raises(InputError, match="too coarse for the model") as caught:
        at_resolution(pyramid(), 0.12)
    assert "0.25 µm per pixel at its finest" in str(caught.value)
    assert "at most 0.24" in str(caught.value)


def test_a_slide_that_does_not_say_its_resolution_names_the_option() -> None:
    with pytest.raises(InputError, match="does not say its own") as caught:
        at_resolution(pyramid(mpp=None), 0.5)
    assert "--mpp" in str(caught.value)


def test_a_given_resolution_is_used_and_a_disagreement_said() -> None:
    silent = StatedResolution(pyramid(mpp=None), 0.5)
    assert silent.mpp == 0.5
    assert silent.notes == ("its resolution was given as 0.5 µm per pixel; the file does not say",)
    assert StatedResolution(pyramid(), 0.2501).notes == ()
    loud = StatedResolution(pyramid(), 0.5)
    assert loud.mpp == 0.5
    assert loud.notes == ("its resolution was given as 0.5 µm per pixel; the file says 0.25",)


class Endless(Slide):
    """A million pixels along each side."""

    mpp = 0.25
    levels = (Level(1_000_000, 1_000_000, 1.0),)
    fingerprint = name = location = "endless"

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        return np.full((h, w, 3), 7, np.uint8)


def test_memory_is_bounded_however_much_a_pixel_covers() -> None:
    slide, index = at_resolution(Endless(), 0.25 * 64)
    with frugal(memory=60e6, seconds=60):
        pixels = slide.read(index, 100, 200, 96, 96)  # of 6144² source pixels, 113 MB
    assert (pixels == 7).all()
