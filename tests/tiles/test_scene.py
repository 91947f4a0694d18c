"""The demo's slides know where their tissue is, and where a pen or a lost focus went over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from tests.tiles.drawn import cells
from xaipipe.testing import MemorySlide
from xaipipe_demo import artefacts
from xaipipe_demo.noise import Box, field, salted, upsample
from xaipipe_demo.scene import Scene
from xaipipe_demo.tissue import STEP
from xaipipe_tiles.tissue import BLUR, GLASS, PEN, TISSUE, Search, find_tissue

SIDE, CELL = 1536, 16


@dataclass(frozen=True)
class Truth:
    """Shares of every cell."""

    labels: np.ndarray
    section: np.ndarray
    stained: np.ndarray
    ink: np.ndarray
    fringe: np.ndarray
    defocus: np.ndarray


@pytest.fixture(scope="module", params=[(2, "blue"), (4, "green"), (10, "black")], ids=lambda param: param[1])
def seen(request: pytest.FixtureRequest) -> Truth:
    """A slide with ink of one colour and, but for the second, zones out of focus."""
    seed, _ = request.param
    scene = Scene(seed, SIDE, SIDE, artefacts=frozenset({"pen", "blur"}))
    slide = MemorySlide([scene.rgb(0, 0, SIDE, SIDE)], mpp=0.5)
    clean = Scene(seed, SIDE, SIDE).rgb(0, 0, SIDE, SIDE)
    depth = np.abs(slide.read(0, 0, 0, SIDE, SIDE).astype(int) - clean).max(axis=2)
    whole = Box(0, 0, SIDE, SIDE)
    stroke = artefacts._stroke(scene.land, whole, 63, 150, 90)
    grid = Box(0, 0, SIDE // STEP, SIDE // STEP).grown(1)
    zone = np.clip((upsample(field(salted(seed, 67), grid, 1024, STEP), STEP) - 0.55) * 2, 0, 1)
    assert depth[stroke > 10].mean() > 60  # the artefact is where this test takes it to be
    labels = find_tissue(slide, Search("saturation", 0, 2_500, pen=True, blur=True)).labels
    return Truth(
        labels=labels,
        section=cells(scene.tissue(0, 0, SIDE, SIDE), CELL),
        stained=cells(clean.min(axis=2) < 215, CELL),
        ink=cells(stroke > 7, CELL),
        fringe=cells(stroke > -40, CELL),
        defocus=cells(zone, CELL),
    )


def test_all_stained_tissue_is_found(seen: Truth) -> None:
    tissue = (seen.section == 1) & (seen.stained > 0.5) & (seen.fringe == 0)
    assert tissue.sum() > 1000
    assert np.isin(seen.labels[tissue], (TISSUE, BLUR)).mean() > 0.999


def test_all_ink_is_rejected_and_only_ink(seen: Truth) -> None:
    assert (seen.labels[seen.ink == 1] == PEN).mean() > 0.999
    assert not (seen.labels[seen.fringe == 0] == PEN).any()


def test_glass_is_skipped(seen: Truth) -> None:
    """Up to two cells from the section, which smoothing and closing take for it."""
    glass = ~ndimage.binary_dilation(seen.section > 0, np.ones((3, 3)), iterations=3) & (seen.fringe == 0)
    assert glass.sum() > 50
    assert (seen.labels[glass] == GLASS).all()


def test_what_is_sharp_stays_and_what_is_blurred_goes(seen: Truth) -> None:
    """Blocks of 16 cells are judged; one counts as blurred where all of it is."""
    tissue = (seen.section == 1) & (seen.fringe == 0)
    assert not (seen.labels[tissue & (seen.defocus == 0)] == BLUR).any()
    lost = ndimage.minimum_filter(seen.defocus, 33) > 0.7
    assert (seen.labels[tissue & lost & (seen.stained > 0.5)] == BLUR).all()
