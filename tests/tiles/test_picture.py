"""The small picture: means of all pixels, from the right level, in bounded reads; and the colour of the glass in it."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.tiles.drawn import Drawing
from xaipipe import Level, Slide
from xaipipe.testing import MemorySlide
from xaipipe_tiles.picture import averaged, block_means, small_picture, white_of


def slow_means(pixels: np.ndarray, k: int) -> np.ndarray:
    rows, columns = -(-pixels.shape[0] // k), -(-pixels.shape[1] // k)
    means = np.empty((rows, columns, 3))
    for i, j in np.ndindex(rows, columns):
        means[i, j] = pixels[i * k : i * k + k, j * k : j * k + k].reshape(-1, 3).mean(axis=0)
    return means


class Counting(MemorySlide):
    """How often each pixel of each level was read, and the largest read."""

    def __init__(self, levels: list[np.ndarray], mpp: float | None) -> None:
        super().__init__(levels, mpp)
        self.reads = [np.zeros(pixels.shape[:2], int) for pixels in levels]
        self.largest = 0
        self._counting = threading.Lock()

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        with self._counting:
            self.reads[level][y : y + h, x : x + w] += 1
            self.largest = max(self.largest, h * w)
        return super().read(level, y, x, h, w)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("k", [1, 2, 7, 16])
def test_a_cell_is_the_mean_of_its_pixels(k: int) -> None:
    pixels = noise(61, 90)
    np.testing.assert_allclose(block_means(pixels, k), slow_means(pixels, k), atol=1e-4)
    np.testing.assert_allclose(averaged(MemorySlide([pixels]), 0, k), slow_means(pixels, k), atol=0.5 + 1e-4)


def test_blocks_that_are_read_apart_make_one_picture() -> None:
    pixels = noise(2100, 4300)
    np.testing.assert_array_equal(averaged(MemorySlide([pixels]), 0, 20), np.rint(block_means(pixels, 20)))


def test_a_slide_of_one_level_is_read_once_and_never_at_once() -> None:
    slide = Counting([noise(4100, 6200)], mpp=0.5)
    picture = small_picture(slide)
    assert picture.step == 16
    assert picture.pixels.shape == (257, 388, 3)
    assert (slide.reads[0] == 1).all()
    assert slide.largest <= 2048**2


def test_only_the_coarsest_level_that_is_fine_enough_is_read() -> None:
    pixels = noise(512, 512)
    slide = Counting([pixels, pixels[::4, ::4], pixels[::16, ::16], pixels[::64, ::64]], mpp=0.25)
    picture = small_picture(slide)
    assert picture.step == 32
    assert [level.max() for level in slide.reads] == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("height", "mpp", "step"),
    [(1000, 0.5, 16), (1000, 20.0, 1), (1000, None, 1), (5000, None, 3), (400_000, 0.5, 196), (30_000, 0.5, 16)],
)
def test_cells_are_8_micrometres_or_what_the_longer_side_allows(height: int, mpp: float | None, step: int) -> None:
    class Header(Slide):
        """Reads are white, so that a slide of any size can be asked."""

        fingerprint = ""

        def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
            return np.full((h, w, 3), 255, np.uint8)

    slide = Header()
    slide.mpp, slide.levels = mpp, (Level(height, 8, 1.0),)
    picture = small_picture(slide)
    assert picture.step == step
    assert max(picture.pixels.shape) <= 2048


def test_cells_follow_a_level_whose_downsample_is_not_whole() -> None:
    pixels = noise(403, 403)
    slide = MemorySlide([pixels, pixels[:100, :100]], mpp=0.5)
    slide.levels = (slide.levels[0], Level(100, 100, 4.03))
    picture = small_picture(slide)
    assert picture.step == pytest.approx(16.12)
    assert picture.grid.scale == (picture.step, picture.step)
    assert picture.grid.offset == pytest.approx((7.56, 7.56))


@pytest.mark.parametrize("white", [(243.0, 242.0, 244.0), (230.0, 224.0, 233.0), (255.0, 255.0, 255.0)])
def test_the_glass_is_what_is_bright_and_frequent(white: tuple[float, float, float]) -> None:
    drawing = Drawing(white=white)
    drawing.stain(drawing.disc(300, 400, 280))
    drawing.stain(drawing.disc(300, 400, 290), {"eosin": 0.05})
    assert white_of(small_picture(drawing.slide())) == pytest.approx(white, abs=1.5)


def test_white_that_was_filled_in_is_not_taken_for_glass() -> None:
    pixels = Drawing().pixels()
    pixels[:, :500] = 255
    assert white_of(small_picture(MemorySlide([pixels], mpp=2.0))) == pytest.approx((243, 242, 244), abs=1)


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_without_glass_nobody_takes_tissue_for_it(strength: float) -> None:
    drawing = Drawing()
    drawing.stain(drawing.y >= 0, {"haematoxylin": 0.25 * strength, "eosin": 0.4 * strength})
    assert white_of(small_picture(drawing.slide())) is None
