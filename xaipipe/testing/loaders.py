"""The contract of loaders."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import torch
from torch import Tensor

from xaipipe.models.preprocess import Preprocess
from xaipipe.running.checks import check_result
from xaipipe.stages import Loader
from xaipipe.testing.comparing import assert_close, assert_same_bits
from xaipipe.testing.params import StageContract
from xaipipe.testing.slides import MemorySlide
from xaipipe.types import Batch, Slide, Tile

_CORE, _HALO = 32, 4
_PREPROCESS = Preprocess.parse(
    {"size": _CORE + 2 * _HALO, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}, "the loaders' contract"
)


class LoaderContract(StageContract):
    """Every promise that a loader makes."""

    method: ClassVar[type[Loader]]
    sections = ("Misleads when", "Example")

    def load(self, tiles: Sequence[Tile]) -> Batch:
        """With the checks at the stage's boundary."""
        loader: Loader = self.build()
        batch = loader.load(tuple(tiles), _PREPROCESS)
        check_result(loader, tuple(tiles), batch)
        return batch

    def test_returns_every_tile_with_its_halo(self) -> None:
        tiles = _tiles(MemorySlide.striped())
        batch = self.load(tiles)
        assert batch.tiles == tiles
        assert batch.pixels.shape == (len(tiles), 3, _CORE + 2 * _HALO, _CORE + 2 * _HALO)

    def test_pixels_are_the_slides(self) -> None:
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
        with ThreadPoolExecutor(4) as pool:
            for got in pool.map(lambda _: loader.load(tiles, _PREPROCESS), range(8)):
                assert_same_bits(got.pixels, expected.pixels)
                assert_same_bits(got.valid, expected.valid)

    def test_another_slide_leaves_no_trace(self) -> None:
        loader: Loader = self.build()
        slides = (MemorySlide.striped(seed=1), MemorySlide.striped(seed=2))
        first, second = (_foreground_and_pixels(loader, slide) for slide in slides)
        again, fresh = _foreground_and_pixels(loader, slides[0]), _foreground_and_pixels(self.build(), slides[1])
        for got, want in ((again, first), (second, fresh)):
            assert got[0] == want[0]
            assert_same_bits(got[1], want[1])

    def test_foreground_answers_for_every_tile(self) -> None:
        slide = MemorySlide.striped()
        loader: Loader = self.build()
        for tiles in (_tiles(slide), _tiles(slide)[:1], ()):
            answers = loader.foreground(slide, 0, tiles)
            assert len(answers) == len(tiles)
            assert all(answer in (True, False) for answer in answers)


def _tiles(slide: Slide, level: int = 0) -> tuple[Tile, ...]:
    """All of a level; those at the end reach beyond the slide."""
    size = slide.levels[level]
    return tuple(
        Tile(slide, level, y, x, _CORE, _CORE, _HALO)
        for y in range(0, size.height, _CORE)
        for x in range(0, size.width, _CORE)
    )


def _foreground_and_pixels(loader: Loader, slide: Slide) -> tuple[tuple[bool, ...], Tensor]:
    tiles = _tiles(slide)
    return loader.foreground(slide, 0, tiles), loader.load(tiles, _PREPROCESS).pixels


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
