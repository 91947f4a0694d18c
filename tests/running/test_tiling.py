"""Regions and tiles cover a level once, and cells of all tiles fall onto one lattice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from xaipipe import Explanation, Grid, Level, Slide, UsageError
from xaipipe.running.layout import ArraySpec
from xaipipe.running.tiling import Tiling, make_lattice, make_tiling


class Blank(Slide):
    path = Path("blank")
    mpp = None
    fingerprint = "blank"

    def __init__(self, height: int, width: int) -> None:
        self.levels = (Level(height, width, 1.0),)

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        return np.zeros((h, w, 3), np.uint8)


def probe(tiling: Tiling, step: int, offset: float) -> Explanation:
    cells = (tiling.core + 2 * tiling.halo) // step
    return Explanation(
        values=torch.zeros(1, 1, cells, cells),
        grid=Grid((step, step), (offset, offset)),
        targets=(0,),
        scores=torch.zeros(1),
        input_size=(tiling.core + 2 * tiling.halo,) * 2,
    )


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    step=st.sampled_from([1, 2, 4]),
    core_cells=st.integers(2, 8),
    halo_cells=st.integers(0, 2),
    shard=st.integers(8, 200),
    half_pixels=st.integers(-1, 6),
)
def test_every_cell_of_the_level_belongs_to_one_tile_of_one_region(
    height: int, width: int, step: int, core_cells: int, halo_cells: int, shard: int, half_pixels: int
) -> None:
    slide = Blank(height, width)
    halo = halo_cells * step
    tiling = make_tiling(slide, 0, core_cells * step + 2 * halo, 2 * halo, shard)
    offset = min(half_pixels / 2, step - 1)
    assume(min(height, width) > offset + 0.5)  # at least one cell's centre lies on the level
    lattice = make_lattice(tiling, probe(tiling, step, offset))
    spec = ArraySpec(
        "map", "heatmap", ("",), lattice.height, lattice.width, lattice.grid, lattice.per_region, "float32"
    )
    seen = np.zeros((lattice.height, lattice.width), int)
    for region in tiling.regions():
        y, x, h, w = spec.cells(region)
        seen[y : y + h, x : x + w] += 1
        centres = lattice.grid.offset[0] + step * np.arange(y, y + h)
        assert ((centres >= region.y - 0.5) & (centres < region.y + region.h - 0.5)).all()
        tiles = tiling.tiles(region)
        assert {tile.y for tile in tiles} == set(range(region.y, region.y + region.h, tiling.core))
    assert (seen == 1).all()


def test_lattice_counts_the_cells_whose_centre_is_on_the_level() -> None:
    tiling = make_tiling(Blank(100, 70), 0, 32, 0, 64)
    lattice = make_lattice(tiling, probe(tiling, 8, 3.5))
    assert (lattice.height, lattice.width) == (12, 9)  # 99.5 lies on the border and so outside, 67.5 inside
    assert lattice.grid.offset == (3.5, 3.5)


@pytest.mark.parametrize(
    ("tile", "overlap", "step", "message"),
    [
        (64, 3, 4, "overlap is read half on each side"),
        (64, 64, 4, "overlap leaves nothing of the tile"),
        (64, 12, 4, "overlap / 2 is not a multiple of the map's cells"),
        (66, 0, 4, "tile - overlap is not a multiple of the map's cells"),
    ],
)
def test_tiles_that_would_not_meet_are_refused(tile: int, overlap: int, step: int, message: str) -> None:
    def lay() -> None:
        tiling = make_tiling(Blank(200, 200), 0, tile, overlap, 128)
        make_lattice(tiling, probe(tiling, step, 1.5))

    with pytest.raises(UsageError, match=message):
        lay()


def test_a_map_that_leaves_a_border_of_its_tile_asks_for_overlap() -> None:
    tiling = make_tiling(Blank(200, 200), 0, 64, 0, 128)
    short = probe(tiling, 4, 1.5).replace(values=torch.zeros(1, 1, 12, 12))
    with pytest.raises(UsageError, match="would leave gaps") as caught:
        make_lattice(tiling, short)
    assert "set [load] overlap to at least 32" in str(caught.value)


def test_an_image_smaller_than_a_cell_is_said_to_be() -> None:
    tiling = make_tiling(Blank(10, 200), 0, 64, 0, 128)
    with pytest.raises(UsageError, match="smaller than a cell"):
        make_lattice(tiling, probe(tiling, 32, 15.5))
