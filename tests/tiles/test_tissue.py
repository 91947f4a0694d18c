"""Tissue, glass and pen on pictures whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from tests.tiles.drawn import INKS, Drawing, cells
from xaipipe.testing import MemorySlide
from xaipipe_tiles.tissue import GLASS, PEN, TISSUE, Search, TissueMask, find_tissue

SCORES = pytest.mark.parametrize("by", ["saturation", "hed"])


def found(slide: MemorySlide, by: str = "saturation", holes: float = 50_000, area: float = 2_500) -> np.ndarray:
    return find_tissue(slide, Search(by, holes, area, pen=True, blur=False)).labels


def away_from(edges_of: np.ndarray, distance: int = 2) -> np.ndarray:
    """Cells that are not at the border of a shape."""
    inside = cells(edges_of)
    near = ndimage.binary_dilation((inside > 0) & (inside < 1), np.ones((3, 3)), iterations=distance)
    return ~near


@SCORES
def test_a_disc_is_tissue_and_the_rest_is_glass(by: str) -> None:
    drawing = Drawing()
    disc = drawing.disc(300, 400, 200)
    drawing.stain(disc)
    labels = found(drawing.slide(), by)
    clear = away_from(disc)
    np.testing.assert_array_equal(labels[clear], cells(disc)[clear])


@SCORES
def test_holes_are_filled_up_to_their_largest_area(by: str) -> None:
    """Radii of 30 and 60 pixels of 2 µm: about 11,000 and 45,000 µm²."""
    drawing = Drawing()
    small, large = drawing.disc(300, 300, 30), drawing.disc(300, 500, 60)
    drawing.stain(drawing.disc(300, 400, 250) & ~small & ~large)
    slide = drawing.slide()
    for holes, filled in ((5_000, (False, False)), (20_000, (True, False)), (60_000, (True, True))):
        labels = found(slide, by, holes=holes)
        assert (labels[75, 75] == TISSUE, labels[75, 125] == TISSUE) == filled


def test_a_bay_that_reaches_the_border_is_no_hole() -> None:
    drawing = Drawing()
    drawing.stain(~drawing.box(0, 380, 200, 420))
    assert found(drawing.slide(), holes=1e9)[20, 100] == GLASS


@pytest.mark.parametrize(("mpp", "unit"), [(2.0, 4.0), (None, 1.0)])
def test_pieces_below_the_least_area_are_no_tissue(mpp: float | None, unit: float) -> None:
    """In µm² where the slide says its resolution, else in its own pixels."""
    drawing = Drawing()
    drawing.stain(drawing.box(100, 100, 160, 160) | drawing.box(100, 300, 120, 320) | drawing.box(300, 100, 500, 500))
    step = 4 if mpp else 1
    pieces = [(130, 130), (110, 310), (400, 300)]
    for area, kept in ((300, (True, True, True)), (1_500, (True, False, True)), (6_000, (False, False, True))):
        labels = found(drawing.slide(mpp), area=area * unit)
        assert tuple(labels[y // step, x // step] == TISSUE for y, x in pieces) == kept


@SCORES
@pytest.mark.parametrize("white", [(243.0, 242.0, 244.0), (233.0, 226.0, 236.0), (242.0, 240.0, 226.0), (255.0,) * 3])
def test_glass_of_any_tint_is_no_tissue(by: str, white: tuple[float, float, float]) -> None:
    labels = found(Drawing(white=white).slide(), by)
    assert not labels.any()


@SCORES
@pytest.mark.parametrize("amounts", [{"eosin": 0.5}, {"haematoxylin": 0.5, "eosin": 0.3}])
def test_a_slide_that_is_all_tissue_is_not_cut_in_two(by: str, amounts: dict[str, float]) -> None:
    drawing = Drawing()
    drawing.stain(drawing.y >= 0, amounts)
    drawing.stain(drawing.x > 400, {"haematoxylin": 0.4})
    assert (found(drawing.slide(), by) == TISSUE).all()


@SCORES
def test_faint_tissue_is_found(by: str) -> None:
    drawing = Drawing()
    disc = drawing.disc(300, 400, 200)
    drawing.stain(disc, {"haematoxylin": 0.03, "eosin": 0.05})
    clear = away_from(disc)
    np.testing.assert_array_equal(found(drawing.slide(), by)[clear], cells(disc)[clear])


def test_brown_tissue_is_found() -> None:
    """Immunohistochemistry: DAB and a blue counterstain, also so dense that hardly any light comes through."""
    drawing = Drawing()
    disc = drawing.disc(300, 400, 220)
    drawing.stain(disc, {"bluest haematoxylin": 0.3})
    drawing.stain(drawing.disc(300, 300, 80), {"dab": 0.6})
    drawing.stain(drawing.disc(300, 500, 80), {"dab": 2.5})
    clear = away_from(disc)
    np.testing.assert_array_equal(found(drawing.slide())[clear], cells(disc)[clear])


@SCORES
def test_a_real_stain_is_tissue_and_not_ink(by: str) -> None:
    labels = found(MemorySlide([data.immunohistochemistry()], mpp=0.5), by)
    assert (labels == TISSUE).mean() > 0.9  # the rest is glass
    assert not (labels == PEN).any()


@SCORES
@pytest.mark.parametrize("grey", [0.05, 0.15, 0.4, 1.0, 2.5])
def test_a_dark_edge_of_the_slide_is_no_tissue(by: str, grey: float) -> None:
    drawing = Drawing()
    drawing.stain(drawing.disc(300, 500, 150))
    drawing.density[:, :60] += grey
    labels = found(drawing.slide(), by)
    assert not (labels[:, :20] == TISSUE).any()
    assert labels[75, 125] == TISSUE


@SCORES
@pytest.mark.parametrize("filling", [0, 255])
def test_what_a_scanner_filled_in_is_neither_tissue_nor_pen(by: str, filling: int) -> None:
    drawing = Drawing()
    disc = drawing.disc(300, 500, 150)
    drawing.stain(disc)
    pixels = drawing.pixels()
    pixels[:, :203] = filling  # ends within a cell
    pixels[550:] = filling
    labels = found(MemorySlide([pixels], mpp=2.0), by)
    clear = away_from(disc)
    np.testing.assert_array_equal(labels[clear], cells(disc)[clear])


@SCORES
@pytest.mark.parametrize("colour", sorted(INKS))
def test_a_pen_stroke_is_neither_tissue_nor_glass(by: str, colour: str) -> None:
    drawing = Drawing()
    disc, stroke = drawing.disc(300, 400, 200), drawing.box(270, 0, 330, 800)
    drawing.stain(disc)
    drawing.mark(stroke, colour)
    labels = found(drawing.slide(), by)
    assert (labels[cells(stroke) == 1] == PEN).all()
    clear = away_from(disc) & away_from(stroke) & (cells(stroke) == 0)
    np.testing.assert_array_equal(labels[clear], cells(disc)[clear])


def test_pen_can_be_kept() -> None:
    drawing = Drawing()
    drawing.mark(drawing.box(270, 0, 330, 800), "blue")
    labels = find_tissue(drawing.slide(), Search("saturation", 0, 0, pen=False, blur=False)).labels
    assert (labels[75] == TISSUE).all()


def test_shares_say_what_the_slide_is() -> None:
    drawing = Drawing()
    drawing.stain(drawing.box(0, 0, 600, 400))
    drawing.mark(drawing.box(0, 600, 600, 800), "green")
    mask = find_tissue(drawing.slide(), Search("saturation", 0, 0, pen=True, blur=False))
    assert isinstance(mask, TissueMask)
    assert mask.shares == pytest.approx({"glass": 0.25, "tissue": 0.5, "pen": 0.25, "out of focus": 0}, abs=0.02)
    assert sum(mask.shares.values()) == pytest.approx(1)
