"""The loader as a whole: its contract, what it takes for background, and stains fitted to the slide."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.tiles.drawn import Drawing
from xaipipe import InputError, Preprocess, Tile, UsageError
from xaipipe.testing import LoaderContract, MemorySlide
from xaipipe_tiles.stains import STAINS
from xaipipe_tiles.tiles import Tiles

PREPROCESS = Preprocess(size=64, mean=(0, 0, 0), std=(1, 1, 1))


class TestTiles(LoaderContract):
    method = Tiles


class TestTilesByStains(LoaderContract):
    method = Tiles
    params: ClassVar = {"tissue_by": "hed", "tissue_blur": "reject", "tissue_pen": "keep"}


class TestTilesWithoutTissueSearch(LoaderContract):
    method = Tiles
    params: ClassVar = {"tissue": "off", "tile": 64, "overlap": 8}


class TestMacenko(LoaderContract):
    method = Tiles
    params: ClassVar = {"stain": "macenko", "tissue": "off"}
    keeps_pixels = False


class TestReinhard(LoaderContract):
    method = Tiles
    params: ClassVar = {"stain": "reinhard", "tissue": "off"}
    keeps_pixels = False


def half_and_half() -> MemorySlide:
    """Glass on the left, stained with nuclei on the right, a green stroke at the right end."""
    drawing = Drawing(512, 1024)
    drawing.stain(drawing.x >= 512, {"eosin": 0.5})
    drawing.stain((drawing.x >= 512) & (drawing.x % 8 < 3), {"haematoxylin": 0.9})
    drawing.mark(drawing.x >= 832, "green")
    return drawing.slide()


def tiles_of(slide: MemorySlide, side: int = 64) -> tuple[Tile, ...]:
    level = slide.levels[0]
    return tuple(
        Tile(slide, 0, y, x, side, side) for y in range(0, level.height, side) for x in (*range(0, level.width, side),)
    )


def test_tissue_is_worth_explaining_and_the_rest_says_what_it_is() -> None:
    slide = half_and_half()
    loader = Tiles(tissue_share=0.2)
    answers = loader.background(tiles_of(slide)[:16], loader.fit(slide, 0))
    assert answers == ("glass",) * 8 + (None,) * 5 + ("pen",) * 3


def test_photographs_are_not_searched() -> None:
    photograph = Drawing(64, 64).slide(mpp=None)
    loader = Tiles()
    fitted = loader.fit(photograph, 0)
    assert loader.background(tiles_of(photograph), fitted) == (None,)
    assert loader.masks(fitted) == ()
    assert loader.findings(fitted) == {}
    assert Tiles(tissue="on").background(tiles_of(photograph), Tiles(tissue="on").fit(photograph, 0)) == ("glass",)


@pytest.mark.parametrize("stain", sorted(STAINS))
def test_pixels_are_those_of_the_stain_that_was_fitted(stain: str) -> None:
    slide = half_and_half()
    tile = Tile(slide, 0, 0, 600, 64, 64)
    loader = Tiles(stain=stain)
    fitted = loader.fit(slide, 0)
    expected = PREPROCESS.normalise(fitted.stain.apply(slide.read(0, 0, 600, 64, 64)))
    got = loader.load((tile,), PREPROCESS, fitted).pixels[0]
    assert (got == expected).all()
    plain = Tiles().load((tile,), PREPROCESS, Tiles().fit(slide, 0)).pixels[0]
    assert (got - plain).abs().max() > 0.05


@pytest.mark.parametrize("stain", sorted(STAINS))
def test_what_was_fitted_is_found_in_words_and_can_be_a_reference(stain: str) -> None:
    """A manifest's entry, pasted as the reference of its own slide, changes nothing."""
    slide = half_and_half()
    look = dict(Tiles(stain=stain).findings(Tiles(stain=stain).fit(slide, 0))["stain"])
    assert look.pop("method") == stain
    loader = Tiles(stain=stain, stain_reference=look)
    fitted = loader.fit(slide, 0)
    pixels = slide.read(0, 0, 500, 64, 300)
    assert np.abs(fitted.stain.apply(pixels).astype(int) - pixels).max() <= 1


def test_the_fit_sees_stained_tissue_only() -> None:
    """Ink covers a third of the tissue, and glass half of the slide."""
    clean = Drawing(512, 1024)
    clean.stain(clean.x >= 512, {"eosin": 0.5})
    clean.stain((clean.x >= 512) & (clean.x % 8 < 3), {"haematoxylin": 0.9})
    loader = Tiles(stain="macenko")
    with_pen, without = (loader.fit(slide, 0).stain.own for slide in (half_and_half(), clean.slide()))
    for name, value in without.model_dump().items():
        assert getattr(with_pen, name) == pytest.approx(value, abs=0.02), name


def test_what_was_fitted_goes_to_other_processes() -> None:
    slide = half_and_half()
    loader = Tiles(stain="macenko")
    fitted = loader.fit(slide, 0)
    sent = pickle.loads(pickle.dumps(fitted))
    tiles = tiles_of(slide)
    assert loader.background(tiles, sent) == loader.background(tiles, fitted)
    assert (loader.load(tiles[:2], PREPROCESS, sent).pixels == loader.load(tiles[:2], PREPROCESS, fitted).pixels).all()


@pytest.mark.parametrize("stain", sorted(STAINS))
def test_a_slide_that_cannot_be_normalised_is_refused(stain: str) -> None:
    drawing = Drawing()
    drawing.stain(drawing.x > 300, {"eosin": 0.5})
    with pytest.raises(InputError, match="cannot be normalised"):
        Tiles(stain=stain).fit(MemorySlide([drawing.pixels(noise=0)], mpp=2.0), 0)
    glass = Tiles(stain=stain, tissue="off")
    with pytest.raises(InputError, match="nothing on it is stained"):
        glass.fit(Drawing().slide(), 0)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"stain_reference": {"white": [240, 240, 240]}}, "stain_reference wants a method"),
        ({"stain": "macenko", "stain_reference": {"mean": [0, 0, 0]}}, "unknown parameter 'mean'"),
        ({"stain": "reinhard", "stain_reference": {"deviation": [1, 1]}}, "deviation"),
        ({"stain": "vahadane"}, "stain"),
    ],
)
def test_references_that_do_not_fit_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Tiles(**values)
    assert says in str(caught.value)
