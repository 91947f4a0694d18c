"""The contract of loaders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from xaipipe.models.preprocess import Preprocess
from xaipipe.running.checks import check_result
from xaipipe.stages import Loader
from xaipipe.testing.comparing import assert_close, assert_same_bits
from xaipipe.testing.params import StageContract
from xaipipe.testing.slides import MemorySlide
from xaipipe.types import Batch, LabelImage, Slide, Tile

_CORE, _HALO = 32, 4
_PREPROCESS = Preprocess.parse(
    {"size": _CORE + 2 * _HALO, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}, "the loaders' contract"
)


class LoaderContract(StageContract):
    """Every promise that a loader makes."""

    method: ClassVar[type[Loader]]
    sections = ("Misleads when", "Example")
    keeps_pixels: ClassVar[bool] = True
    """Whether pixels come as the slide has them; where a loader changes their colours, that is not compared."""

    def load(self, tiles: Sequence[Tile]) -> Batch:
        """With the checks at the stage's boundary."""
        loader: Loader = self.build()
        batch = loader.load(tuple(tiles), _PREPROCESS, loader.fit(tiles[0].slide, tiles[0].level))
        check_result(loader, tuple(tiles), batch)
        return batch

    def test_returns_every_tile_with_its_halo(self) -> None:
        tiles = _tiles(MemorySlide.striped())
        batch = self.load(tiles)
        assert batch.tiles == tiles
        assert batch.pixels.shape == (len(tiles), 3, _CORE + 2 * _HALO, _CORE + 2 * _HALO)

    def test_pixels_are_the_slides(self) -> None:
        if not self.keeps_pixels:
            pytest.skip("the loader does not declare that it keeps pixels as they are")
        for level in (0, 1):
            tiles = _tiles(MemorySlide.striped(), level)
            batch = self.load(tiles)
            for tile, pixels, valid in zip(tiles, batch.pixels, batch.valid, strict=True):
                assert_close(pixels[:, valid], _on_slide(tile).flatten(1), 1e-6, str(tile))

    def test_valid_is_what_lies_on_the_slide(self) -> None:
        for level in (0, 1):
            tiles = _tiles(MemorySlide.striped(), level)
            for tile, valid in zip(tiles, self.load(tiles).valid, strict=True):
                assert_same_bits(valid, _lies_on_slide(tile), str(tile))

    def test_threads_load_what_one_loads(self) -> None:
        tiles = _tiles(MemorySlide.striped())
        expected = self.load(tiles)
        loader: Loader = self.build()
        fitted = loader.fit(tiles[0].slide, 0)
        with ThreadPoolExecutor(4) as pool:
            for got in pool.map(lambda _: loader.load(tiles, _PREPROCESS, fitted), range(8)):
                assert_same_bits(got.pixels, expected.pixels)
                assert_same_bits(got.valid, expected.valid)

    def test_another_slide_leaves_no_trace(self) -> None:
        loader: Loader = self.build()
        slides = (MemorySlide.striped(seed=1), MemorySlide.striped(seed=2))
        first, second = (_everything(loader, slide) for slide in slides)
        again, fresh = _everything(loader, slides[0]), _everything(self.build(), slides[1])
        for got, want in ((again, first), (second, fresh)):
            _assert_same(got, want)

    # -- what it knows of the whole slide ---------------------------------------------------------

    def test_background_is_told_for_every_tile(self) -> None:
        slide = MemorySlide.striped()
        loader: Loader = self.build()
        fitted = loader.fit(slide, 0)
        for tiles in (_tiles(slide), _tiles(slide)[:1], ()):
            answers = loader.background(tiles, fitted)
            assert len(answers) == len(tiles)
            assert all(answer is None or (isinstance(answer, str) and answer) for answer in answers)

    def test_a_fit_can_be_made_again(self) -> None:
        """By another process, from the settings: a run that is resumed has to come to the same bytes."""
        for level in (0, 1):
            _assert_same(
                _everything(self.build(), MemorySlide.striped(), level),
                _everything(self.build(), MemorySlide.striped(), level),
            )

    def test_findings_are_facts_for_a_manifest(self) -> None:
        loader: Loader = self.build()
        fitted = loader.fit(MemorySlide.striped(), 0)
        for name, facts in {**loader.findings(fitted), "identity": loader.identity(fitted)}.items():
            assert isinstance(name, str)
            try:
                json.dumps(dict(facts), allow_nan=False)
            except (TypeError, ValueError) as error:
                pytest.fail(f"{name}: {error}")

    def test_masks_lie_over_the_whole_slide(self) -> None:
        slide = MemorySlide.striped()
        loader: Loader = self.build()
        masks = loader.masks(loader.fit(slide, 0))
        assert len({mask.name for mask in masks}) == len(masks)
        for mask in masks:
            assert mask.labels.dtype == np.uint8, mask.name
            assert int(mask.labels.max()) < len(mask.classes), mask.name
            for axis, length in enumerate((slide.levels[0].height, slide.levels[0].width)):
                scale, offset, cells = mask.grid.scale[axis], mask.grid.offset[axis], mask.labels.shape[axis]
                assert abs(offset - (scale - 1) / 2) < 1e-6, f"{mask.name} does not begin at the slide's corner"
                assert 0 <= cells * scale - length < scale, f"{mask.name} does not end where the slide ends"


def _tiles(slide: Slide, level: int = 0) -> tuple[Tile, ...]:
    """All of a level; those at the end reach beyond the slide."""
    size = slide.levels[level]
    return tuple(
        Tile(slide, level, y, x, _CORE, _CORE, _HALO)
        for y in range(0, size.height, _CORE)
        for x in range(0, size.width, _CORE)
    )


_Everything = tuple[tuple[str | None, ...], tuple[Mapping[str, Any], ...], tuple[LabelImage, ...], Tensor]


def _everything(loader: Loader, slide: Slide, level: int = 0) -> _Everything:
    tiles = _tiles(slide, level)
    fitted = loader.fit(slide, level)
    pixels = loader.load(tiles, _PREPROCESS, fitted).pixels
    facts = (loader.findings(fitted), loader.identity(fitted))
    return loader.background(tiles, fitted), facts, loader.masks(fitted), pixels


def _assert_same(got: _Everything, want: _Everything) -> None:
    assert got[0] == want[0]
    assert got[1] == want[1]
    for one, other in zip(got[2], want[2], strict=True):
        assert (one.name, one.classes, one.grid) == (other.name, other.classes, other.grid)
        np.testing.assert_array_equal(one.labels, other.labels)
    assert_same_bits(got[3], want[3])


def _on_slide(tile: Tile) -> Tensor:
    """The part of a tile that lies on the slide, as a model wants it."""
    top, left, bottom, right = _visible(tile)
    return _PREPROCESS.normalise(tile.slide.read(tile.level, top, left, bottom - top, right - left))


def _lies_on_slide(tile: Tile) -> Tensor:
    y, x, h, w = tile.outer
    top, left, bottom, right = _visible(tile)
    valid = torch.zeros(h, w, dtype=torch.bool)
    valid[top - y : bottom - y, left - x : right - x] = True
    return valid


def _visible(tile: Tile) -> tuple[int, int, int, int]:
    y, x, h, w = tile.outer
    size = tile.slide.levels[tile.level]
    return max(y, 0), max(x, 0), min(y + h, size.height), min(x + w, size.width)
