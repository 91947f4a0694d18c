"""Stain normalisation against definitions written out pixel by pixel, on stains that are known."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xaipipe import InputError, UsageError
from xaipipe_tiles.stains import STAINS
from xaipipe_tiles.stains.macenko import Macenko
from xaipipe_tiles.stains.reinhard import Reinhard, to_lab
from xaipipe_tiles.stains.stain import Stain

WHITE = (244.0, 241.0, 246.0)
HAEMATOXYLIN = np.array([0.62, 0.72, 0.31])
EOSIN = np.array([0.12, 0.93, 0.34])
METHODS = pytest.mark.parametrize("method", list(STAINS.values()), ids=list(STAINS))
looks = st.tuples(*[st.floats(0.9, 1.1)] * 8)


def stained(n: int = 40_000, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """uint8 [n, 3]: a quarter nuclei, a quarter stroma, the rest mixed, on this glass."""
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(4, 0.2, (n, 2)) + 0.25
    amounts[: n // 4, 1] = 0
    amounts[n // 4 : n // 2, 0] = 0
    vectors = np.stack([v / np.linalg.norm(v) for v in (HAEMATOXYLIN, EOSIN)])
    light = (np.array(WHITE) + 1) * np.exp(-amounts @ vectors) - 1
    return (light + rng.normal(0, noise, light.shape)).round().clip(0, 255).astype(np.uint8)


def look_of(method: type[Stain], shares: tuple[float, ...]) -> Any:
    """The reference, every number of it a little off."""
    values = iter(shares)
    reference = method.Look()
    changed = {
        name: tuple(min(v * next(values), 255) for v in value)
        for name, value in reference.model_dump().items()
        if name != "white"
    }
    return method.Look(**changed, white=WHITE)


def any_pixels() -> np.ndarray:
    rng = np.random.default_rng(5)
    corners = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)
    return np.concatenate([corners, stained(100), rng.integers(0, 256, (100, 3), np.uint8)])[None]


# -- definitions, in float64 ----------------------------------------------------------------------


def macenko_defined(pixel: np.ndarray, own: Any, reference: Any) -> np.ndarray:
    def basis(look: Any) -> np.ndarray:
        h, e = (np.array(v) / np.linalg.norm(v) for v in (look.haematoxylin, look.eosin))
        n = np.cross(h, e)
        return np.stack([h, e, n / np.linalg.norm(n)], axis=1)

    density = -np.log((pixel + 1.0) / (np.array(own.white) + 1))
    amounts = np.linalg.solve(basis(own), density)
    amounts[0] *= reference.strength[0] / own.strength[0]
    amounts[1] *= reference.strength[1] / own.strength[1]
    return (np.array(reference.white) + 1) * np.exp(-basis(reference) @ amounts) - 1


def reinhard_defined(pixel: np.ndarray, own: Any, reference: Any) -> np.ndarray:
    cones = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
    l, m, s = np.log10(cones @ ((pixel + 1.0) / 256))  # noqa: E741 - the paper's names
    lab = np.array([(l + m + s) / np.sqrt(3), (l + m - 2 * s) / np.sqrt(6), (l - m) / np.sqrt(2)])
    lab = (lab - own.mean) * np.divide(reference.deviation, own.deviation) + reference.mean
    a, b, c = lab[0] / np.sqrt(3), lab[1] / np.sqrt(6), lab[2] / np.sqrt(2)
    moved = np.linalg.solve(cones, 10.0 ** np.array([a + b + c, a + b - c, a - 2 * b])) * 256 - 1
    density = -np.log((pixel + 1.0) / (np.array(own.white) + 1)).mean()
    weight = min(max(density / 0.15, 0), 1) ** 2
    return weight * moved + (1 - weight) * pixel * np.divide(reference.white, own.white)


DEFINED = {"macenko": macenko_defined, "reinhard": reinhard_defined}


@METHODS
@settings(max_examples=25)
@given(looks)
def test_every_pixel_is_what_the_formula_says(method: type[Stain], shares: tuple[float, ...]) -> None:
    own, reference = look_of(method, shares), method.Look()
    pixels = any_pixels()
    got = method(own, reference).apply(pixels)
    assert got.dtype == np.uint8
    expected = np.array([DEFINED[method.name](pixel, own, reference) for pixel in pixels[0]]).clip(0, 255)
    assert np.abs(got[0] - expected).max() <= 0.5 + 2e-3 + 1e-5 * 255  # rounding, and float32


@METHODS
def test_the_look_of_a_slide_is_made_the_references(method: type[Stain]) -> None:
    pixels = stained()
    own, reference = method.fit(pixels, WHITE), method.Look(white=WHITE)
    again = method.fit(method(own, reference).apply(pixels[None])[0], WHITE)
    for name, value in again.model_dump().items():
        assert value == pytest.approx(getattr(reference, name), rel=0.06, abs=0.02), name


@METHODS
def test_a_slide_made_like_itself_is_what_it_was(method: type[Stain]) -> None:
    own = method.fit(stained(), WHITE)
    pixels = any_pixels()
    assert np.abs(method(own, own).apply(pixels).astype(int) - pixels).max() <= (method is Reinhard)


@METHODS
def test_glass_stays_glass(method: type[Stain]) -> None:
    """That of the slide becomes that of the reference; what is a little darker or brighter stays as near to it."""
    own, reference = method.fit(stained(), WHITE), method.Look(white=(250, 250, 250))
    glass = np.array([[WHITE]]).round().astype(int)
    stain = method(own, reference)
    assert np.abs(stain.apply(glass.astype(np.uint8)).astype(int) - 250).max() <= 1
    for change in (-6, 6):
        assert np.abs(stain.apply((glass + change).astype(np.uint8)).astype(int) - 250 - change).max() <= 6


@METHODS
def test_tiles_are_treated_alike(method: type[Stain]) -> None:
    """A pixel's colour does not depend on the tile that it is in."""
    stain = method(method.fit(stained(), WHITE), method.Look())
    pixels = any_pixels()
    np.testing.assert_array_equal(stain.apply(pixels[:, 50:150]), stain.apply(pixels)[:, 50:150])
    np.testing.assert_array_equal(stain.apply(pixels.reshape(4, -1, 3)).reshape(pixels.shape), stain.apply(pixels))


@METHODS
def test_fits_do_not_depend_on_the_order_of_pixels(method: type[Stain]) -> None:
    pixels = stained(noise=1.5)
    assert method.fit(pixels, WHITE) == method.fit(pixels, WHITE)
    turned = method.fit(pixels[::-1], WHITE)
    for name, value in method.fit(pixels, WHITE).model_dump().items():
        assert getattr(turned, name) == pytest.approx(value, abs=2e-6)


# -- Macenko --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 0.01), (1.5, 0.05)])
def test_known_stains_are_recovered(noise: float, tolerance: float) -> None:
    look = Macenko.fit(stained(noise=noise), WHITE)
    for found, vector in ((look.haematoxylin, HAEMATOXYLIN), (look.eosin, EOSIN)):
        np.testing.assert_allclose(found, vector / np.linalg.norm(vector), atol=tolerance)


def test_strengths_are_the_99th_percentiles() -> None:
    rng = np.random.default_rng(0)
    amounts = rng.uniform(0.3, 1.0, (20_000, 2))
    amounts[:10_000, 0] = 0
    amounts[10_000:, 1] = 0
    vectors = np.stack([v / np.linalg.norm(v) for v in (HAEMATOXYLIN, EOSIN)])
    pixels = ((np.array(WHITE) + 1) * np.exp(-amounts @ vectors) - 1).round().astype(np.uint8)
    expected = [np.percentile(amounts[:, i], 99) for i in (0, 1)]
    assert Macenko.fit(pixels, WHITE).strength == pytest.approx(expected, rel=0.02)


def test_ink_stays_ink() -> None:
    """What lies off the plane of the stains is kept: green does not become pink."""
    stain = Macenko(Macenko.fit(stained(), WHITE), Macenko.Look())
    (red, green, blue) = stain.apply(np.array([[[30, 140, 60]]], np.uint8))[0, 0].astype(int)
    assert green > max(red, blue) + 20


# -- Reinhard -------------------------------------------------------------------------------------


def test_mean_and_deviation_are_those_of_l_alpha_beta() -> None:
    pixels = stained()
    look = Reinhard.fit(pixels, WHITE)
    lab = to_lab(pixels)
    assert look.mean == pytest.approx(lab.mean(axis=0), abs=1e-6)
    assert look.deviation == pytest.approx(lab.std(axis=0), abs=1e-6)
    grey = to_lab(np.array([[0, 0, 0], [100, 100, 100], [255, 255, 255]], np.uint8))
    assert np.abs(grey[:, 1:]).max() < 2e-3  # grey has no colour
    assert all(one < other for one, other in pairwise(grey[:, 0]))


# -- slides on which nothing can be fitted --------------------------------------------------------

BLACK = np.zeros((5_000, 3), np.uint8)
ONE_STAIN = np.repeat(stained(4_000)[:1_000], 5, axis=0)


@METHODS
@pytest.mark.parametrize(("pixels", "why"), [(BLACK, "tell stains apart"), (BLACK[:100], "nothing on it is stained")])
def test_a_slide_without_stains_is_refused(method: type[Stain], pixels: np.ndarray, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        method.fitted(pixels, WHITE, method.Look(), "slide.svs")
    assert caught.value.facts["where"] == "slide.svs"
    assert "stain" in str(caught.value.facts["next"])


@pytest.mark.parametrize(("method", "got"), [(Macenko, "rad apart"), (Reinhard, "deviations")])
def test_one_stain_is_not_taken_for_two(method: type[Stain], got: str) -> None:
    with pytest.raises(InputError, match="tell stains apart") as caught:
        method.fitted(ONE_STAIN, WHITE, method.Look(), "slide.svs")
    assert got in str(caught.value)


@METHODS
@pytest.mark.parametrize("value", [0, 255])
def test_no_tile_is_nan(method: type[Stain], value: int) -> None:
    stain = method(method.fit(stained(), WHITE), method.Look())
    with np.errstate(all="raise"):
        assert stain.apply(np.full((4, 4, 3), value, np.uint8)).dtype == np.uint8


def test_a_reference_with_one_stain_is_refused() -> None:
    own = Macenko.fit(stained(), WHITE)
    with pytest.raises(ValueError, match="the same"):
        Macenko(own, Macenko.Look(eosin=Macenko.Look().haematoxylin))


@pytest.mark.parametrize("values", [{"mean": (0, 0)}, {"deviation": (1, 0, 1)}, {"white": (0, 0, 0)}, {"eosin": 3}])
def test_a_look_that_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Reinhard.Look.parse(values, "[load.stain_reference]")
