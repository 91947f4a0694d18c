"""Focus: a ratio that blur changes and stain does not, and blocks of the demo's scene held against its truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tests.tiles.drawn import Drawing
from xaipipe import InputError
from xaipipe.testing import MemorySlide
from xaipipe_demo.scene import Scene
from xaipipe_tiles.focus import sharpness
from xaipipe_tiles.picture import block_means
from xaipipe_tiles.tissue import BLUR, TISSUE, Search, find_tissue

SEARCH = Search("saturation", 50_000, 2_500, pen=True, blur=True)


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    return Scene(1, 2048, 2048).rgb(512, 512, 1024, 1024)


def blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    planes = [ndimage.gaussian_filter(pixels[..., i].astype(np.float32), sigma) for i in range(3)]
    noise = np.random.default_rng(0).normal(0, 1.5, pixels.shape)  # the sensor's, which defocus does not touch
    return (np.stack(planes, axis=2) + noise).round().clip(0, 255).astype(np.uint8)


def test_contrast_does_not_change_it(sharp: np.ndarray) -> None:
    grey = sharp[:128, :128].mean(axis=2)
    assert sharpness(0.3 * grey + 100) == pytest.approx(sharpness(grey))


def test_it_lies_between_smooth_shapes_and_noise() -> None:
    y, x = np.mgrid[:256, :256] / 20
    assert sharpness(np.sin(x) * np.sin(y)) == pytest.approx(1 / 16, rel=0.02)
    assert sharpness(np.random.default_rng(0).normal(size=(256, 256))) == pytest.approx(4, rel=0.1)


def test_blur_lowers_it(sharp: np.ndarray) -> None:
    values = [sharpness(block_means(blurred(sharp, sigma), 2).mean(axis=2)) for sigma in (0.01, 1, 2, 4)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0])
def test_sharp_tissue_is_never_rejected(sharp: np.ndarray, sigma: float) -> None:
    """At 0.5 µm per pixel: up to a blur of 0.5 µm, which any objective has."""
    slide = MemorySlide([blurred(sharp, sigma) if sigma else sharp], mpp=0.5)
    assert not (find_tissue(slide, SEARCH).labels == BLUR).any()


@pytest.mark.parametrize("stain", [0.6, 1.0])
def test_tissue_that_is_blurred_is_rejected(sharp: np.ndarray, stain: float) -> None:
    """By 1.5 µm, strongly stained or not; where noise is stronger than the stain, it counts as sharp."""
    pale = (255 - (255 - sharp.astype(float)) * stain).astype(np.uint8)
    labels = find_tissue(MemorySlide([blurred(pale, 3.0)], mpp=0.5), SEARCH).labels
    assert (labels[labels != 0] == BLUR).mean() > 0.95
    kept = find_tissue(MemorySlide([blurred(pale, 3.0)], mpp=0.5), Search("saturation", 50_000, 2_500, True, False))
    assert not (kept.labels == BLUR).any()


def test_only_blurred_blocks_are_rejected(sharp: np.ndarray) -> None:
    """The left half is blurred; blocks are 128 µm, which is 16 cells."""
    half = sharp.copy()
    half[:, :512] = blurred(sharp, 3.0)[:, :512]
    labels = find_tissue(MemorySlide([half], mpp=0.5), SEARCH).labels
    tissue = labels != 0
    assert (labels[:, :32][tissue[:, :32]] == BLUR).mean() > 0.95
    assert (labels[:, 32:][tissue[:, 32:]] == TISSUE).all()


@pytest.mark.parametrize("mpp", [None, 4.0])
def test_a_slide_on_which_focus_cannot_be_judged_is_refused(mpp: float | None) -> None:
    drawing = Drawing()
    drawing.stain(drawing.y > 100)
    with pytest.raises(InputError, match="focus cannot be judged") as caught:
        find_tissue(drawing.slide(mpp), SEARCH)
    assert "tissue_blur" in str(caught.value)
