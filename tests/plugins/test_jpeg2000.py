"""JPEG 2000 as Aperio's scanners write it: pixels are openslide's, and a tile's own header is not trusted."""

from __future__ import annotations

import importlib.util
import struct
from contextlib import closing
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._jpeg2000 import RGB, YCBCR, write_jpeg_2000
from tests.frugal import frugal
from xaipipe import InputError, Slide
from xaipipe.testing import ReaderContract
from xaipipe_demo.scene import Scene
from xaipipe_readers import open_slide
from xaipipe_readers.jpeg2000 import siz_of
from xaipipe_readers.openslide_reader import OpenSlideSlide
from xaipipe_readers.tiled_tiff import TiledTiff
from xaipipe_readers.ycbcr import rgb_of

PIXELS = Scene(seed=3, height=4096, width=4096).rgb(1800, 1700, 300, 420)


class Aperio(ReaderContract):
    compression: int

    def open(self, path: Path) -> Slide | None:
        return open_slide(path)

    def write(self, folder: Path) -> Path:
        return write_jpeg_2000(folder / "slide.svs", PIXELS, self.compression)

    def expected(self, path: Path) -> np.ndarray:
        with openslide.OpenSlide(path) as theirs:
            return np.asarray(theirs.read_region((0, 0), 0, theirs.dimensions))[..., :3]


class TestRgb(Aperio):
    compression = RGB


class TestYcbcr(Aperio):
    compression = YCBCR


@pytest.mark.parametrize("compression", [RGB, YCBCR])
def test_the_native_reader_takes_them_and_colours_are_right(tmp_path: Path, compression: int) -> None:
    with closing(open_slide(write_jpeg_2000(tmp_path / "slide.svs", PIXELS, compression, quality=50))) as slide:
        assert isinstance(slide, TiledTiff)
        got = slide.read(0, 0, 0, *PIXELS.shape[:2]).astype(int)
    assert abs(got - PIXELS).mean() < 2


@given(values=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=64))
def test_ycbcr_is_that_of_jfif(values: list[tuple[int, int, int]]) -> None:
    y, cb, cr = np.asarray(values, np.uint8).T[:, None]
    green = y - 0.344136 * (cb - 128.0) - 0.714136 * (cr - 128.0)
    exact = np.stack([y + 1.402 * (cr - 128.0), green, y + 1.772 * (cb - 128.0)], axis=2)
    np.testing.assert_allclose(rgb_of(y, cb, cr), np.clip(exact, 0, 255), atol=0.52)


def first_tile(path: Path) -> tuple[int, bytes]:
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    return offset, path.read_bytes()[offset : offset + count]


def with_siz(path: Path, place: int, value: bytes) -> Path:
    """The same slide, its first tile with another header; `place` counts from the codestream's start."""
    offset, _ = first_tile(path)
    data = bytearray(path.read_bytes())
    data[offset + place : offset + place + len(value)] = value
    path.write_bytes(data)
    return path


def test_a_header_is_read_as_it_was_written() -> None:
    codestream = imagecodecs.jpeg2k_encode(np.zeros((40, 56, 3), np.uint8), codecformat="j2k")
    assert siz_of(codestream) == siz_of(imagecodecs.jpeg2k_encode(np.zeros((40, 56, 3), np.uint8), codecformat="jp2"))
    assert siz_of(codestream) == (40, 56, 3, 1, False)
    with pytest.raises(ValueError, match="no header"):
        siz_of(codestream[:20])


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (8, struct.pack(">II", 1 << 30, 1 << 30), "1073741824 × 1073741824 pixels"),
        (40, struct.pack(">H", 16_000), "of 16000 channels"),
        (24, struct.pack(">II", 1, 1), "a codestream of 65536 tiles"),
    ],
)
def test_a_tile_that_promises_too_much_is_never_decoded(tmp_path: Path, place: int, value: bytes, message: str) -> None:
    path = with_siz(write_jpeg_2000(tmp_path / "slide.svs", PIXELS, RGB), place, value)
    refused = pytest.raises(InputError, match="cannot be decoded")
    with frugal(memory=20e6), refused as caught, closing(open_slide(path)) as slide:
        slide.read(0, 0, 0, 64, 64)
    assert message in str(caught.value)


def subsampled(path: Path) -> Path:
    """Claims colours at half the resolution along x; what its pixels are no longer matters."""
    with_siz(path, 42 + 4, b"\x02")
    return with_siz(path, 42 + 7, b"\x02")


def test_colours_at_half_the_resolution_are_left_to_openslide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = subsampled(write_jpeg_2000(tmp_path / "slide.svs", PIXELS, YCBCR))
    with closing(open_slide(path)) as slide:
        assert isinstance(slide, OpenSlideSlide)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="colours at half the resolution") as caught:
        open_slide(path)
    assert "xaipipe[openslide]" in str(caught.value)
