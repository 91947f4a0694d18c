"""The contract of readers: what `open_slide` returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xaipipe.errors import InputError
from xaipipe.types import Slide

Pixels = np.ndarray[Any, Any]
_FOREIGN = {"notes.txt": b"not a picture at all\n" * 40, "noise.bin": bytes(range(7, 256)) * 16, "empty.tif": b""}


class ReaderContract(ABC):
    """Every promise that a reader makes. A subclass writes a file of its kind, at least 100 pixels along y and x.

    Where that is a folder, it also says how to `change` and how to `cut` it.
    """

    @abstractmethod
    def open(self, path: Path) -> Slide | None:
        """The plugin's hook."""

    @abstractmethod
    def write(self, folder: Path) -> Path:
        """A file of the reader's kind; the same bytes each time."""

    def expected(self, path: Path) -> Pixels | None:
        """The RGB pixels of level 0 as another program reads them."""
        return None

    def change(self, path: Path) -> None:
        """Put other content there."""
        with path.open("ab") as file:
            file.write(b"\0" * 64)

    def cut(self, path: Path, share: float) -> None:
        """Leave only the first part of it."""
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    @contextmanager
    def opened(self, path: Path) -> Iterator[Slide]:
        slide = self.open(path)
        assert slide is not None, "the reader does not know a file of its kind"
        with closing(slide):
            yield slide

    def test_levels_go_from_fine_to_coarse(self, tmp_path: Path) -> None:
        with self.opened(self.write(tmp_path)) as slide:
            levels = slide.levels
        assert levels[0].downsample == 1.0
        for fine, coarse in pairwise(levels):
            assert coarse.downsample > fine.downsample
            assert coarse.height * coarse.downsample == pytest.approx(levels[0].height, rel=0.05)
            assert coarse.width * coarse.downsample == pytest.approx(levels[0].width, rel=0.05)

    def test_pixels_are_those_another_program_reads(self, tmp_path: Path) -> None:
        path = self.write(tmp_path)
        expected = self.expected(path)
        if expected is None:
            pytest.skip("the class names no other program")
        with self.opened(path) as slide:
            np.testing.assert_array_equal(_whole(slide, 0), expected)

    def test_boxes_are_crops_of_the_whole_level(self, tmp_path: Path) -> None:
        with self.opened(self.write(tmp_path)) as slide:
            for level, size in enumerate(slide.levels):
                whole = _whole(slide, level)
                assert whole.dtype == np.uint8
                assert whole.shape == (size.height, size.width, 3)
                for y, x, h, w in _boxes(size.height, size.width):
                    box = slide.read(level, y, x, h, w)
                    np.testing.assert_array_equal(box, whole[y : y + h, x : x + w], f"level {level} y={y} x={x}")

    def test_what_was_read_belongs_to_the_caller(self, tmp_path: Path) -> None:
        with self.opened(self.write(tmp_path)) as slide:
            before = _whole(slide, 0).copy()
            for side in (50, 64):  # and a whole tile, as many files have them
                box = slide.read(0, 0, 0, side, side)
                box[:] = 255 - box
                np.testing.assert_array_equal(_whole(slide, 0), before)

    def test_threads_read_what_one_reads(self, tmp_path: Path) -> None:
        path = self.write(tmp_path)
        with self.opened(path) as slide:
            boxes = list(_boxes(slide.levels[0].height, slide.levels[0].width)) * 8
            expected = [slide.read(0, *box).copy() for box in boxes]
        with self.opened(path) as fresh, ThreadPoolExecutor(4) as pool:
            for got, want in zip(pool.map(lambda box: fresh.read(0, *box), boxes), expected, strict=True):
                np.testing.assert_array_equal(got, want)

    def test_fingerprint_is_the_contents(self, tmp_path: Path) -> None:
        path = self.write(tmp_path)
        first, second = self._fingerprint(path), self._fingerprint(path)
        assert first == second
        self.change(path)
        assert self._fingerprint(path) != first

    def test_foreign_files_are_left_to_others(self, tmp_path: Path) -> None:
        (tmp_path / "folder.tif").mkdir()
        for name, content in _FOREIGN.items():
            (tmp_path / name).write_bytes(content)
        for name in (*_FOREIGN, "folder.tif"):
            assert self.open(tmp_path / name) is None, name

    def test_truncated_file_is_refused_in_words(self, tmp_path: Path) -> None:
        for share in (0.3, 0.6, 0.9):
            folder = tmp_path / str(share)
            folder.mkdir()
            path = self.write(folder)
            self.cut(path, share)
            with pytest.raises(InputError) as caught:
                self._read_everything(path)
            assert path.name in str(caught.value.facts["where"]), f"cut to {share:.0%}: {caught.value}"

    def _fingerprint(self, path: Path) -> str:
        with self.opened(path) as slide:
            return slide.fingerprint

    def _read_everything(self, path: Path) -> None:
        with self.opened(path) as slide:
            for level in range(len(slide.levels)):
                _whole(slide, level)


def _whole(slide: Slide, level: int) -> Pixels:
    return slide.read(level, 0, 0, slide.levels[level].height, slide.levels[level].width)


def _boxes(height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """Corners, a single pixel, whole rows, and boxes at odd places."""
    yield 0, 0, 1, 1
    yield height - 1, width - 1, 1, 1
    yield height // 2, 0, 1, width
    yield 0, width // 2, height, 1
    generator = np.random.default_rng(0)
    for _ in range(8):
        y, x = int(generator.integers(height)), int(generator.integers(width))
        yield y, x, int(generator.integers(1, height - y + 1)), int(generator.integers(1, width - x + 1))
