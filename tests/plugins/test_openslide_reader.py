"""The fallback to openslide: the same pixels as the native reader, and nothing where it is not installed.

What it is there for (MRXS, NDPI, SCN, DICOM, …) nothing here can write, so it is tried on files that both can read.
"""

from __future__ import annotations

import importlib.util
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from xaipipe import InputError, Slide
from xaipipe.testing import ReaderContract
from xaipipe_demo.scene import Scene
from xaipipe_demo.tiff import write_slide
from xaipipe_readers import open_slide
from xaipipe_readers.openslide_reader import OpenSlideSlide, open_with_openslide
from xaipipe_readers.tiled_tiff import TiledTiff, open_tiled_tiff


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(Scene(seed=1, height=900, width=1100), tmp_path_factory.mktemp("slide") / "slide.svs")


def opened(path: Path) -> tuple[Slide, Slide]:
    ours, theirs = open_tiled_tiff(path), open_with_openslide(path)
    assert ours is not None
    assert theirs is not None
    return ours, theirs


def test_levels_and_resolution_are_the_native_readers(path: Path) -> None:
    ours, theirs = opened(path)
    with closing(ours), closing(theirs):
        assert [(level.height, level.width) for level in theirs.levels] == [(v.height, v.width) for v in ours.levels]
        for mine, its in zip(ours.levels, theirs.levels, strict=True):
            assert its.downsample == pytest.approx(mine.downsample, rel=0.01)
        assert theirs.mpp == pytest.approx(ours.mpp)
        assert theirs.fingerprint == ours.fingerprint


@pytest.mark.parametrize("box", [(0, 0, 0, 300, 200), (0, 517, 333, 256, 256), (1, 0, 0, 225, 275), (2, 0, 0, 56, 68)])
def test_pixels_are_the_native_readers(path: Path, box: tuple[int, int, int, int, int]) -> None:
    ours, theirs = opened(path)
    with closing(ours), closing(theirs):
        np.testing.assert_array_equal(theirs.read(*box), ours.read(*box))


def test_the_native_reader_comes_first(path: Path) -> None:
    with closing(open_slide(path)) as slide:
        assert isinstance(slide, TiledTiff)


def test_other_files_are_left_to_other_readers(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no slide")
    assert open_with_openslide(tmp_path / "notes.txt") is None


def test_without_openslide_there_is_no_fallback(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert open_with_openslide(path) is None


def test_a_slide_that_breaks_while_it_is_read_is_worded(path: Path, tmp_path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[2000 : len(data) // 2] = bytes(len(data) // 2 - 2000)
    broken = tmp_path / "broken.svs"
    broken.write_bytes(data)
    with pytest.raises(InputError, match="by openslide"), closing(open_with_openslide(broken)) as slide:
        slide.read(0, 0, 0, slide.levels[0].height, slide.levels[0].width)


def generic(path: Path, **options: object) -> Path:
    """What openslide calls a generic TIFF."""
    pixels = Scene(seed=1, height=900, width=1100).rgb(0, 0, 512, 768)
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", compression="jpeg", metadata=None, **options)
    return path


class TestGeneric(ReaderContract):
    """The contract, which the fallback has to keep too."""

    def open(self, path: Path) -> Slide | None:
        return open_with_openslide(path)

    def write(self, folder: Path) -> Path:
        return generic(folder / "slide.tif")

    def expected(self, path: Path) -> np.ndarray:
        return tifffile.imread(path)


def test_a_resolution_in_the_tags_is_openslides_too(tmp_path: Path) -> None:
    path = generic(tmp_path / "slide.tif", resolution=(20_000, 20_000), resolutionunit="CENTIMETER")
    ours, theirs = opened(path)
    with closing(ours), closing(theirs):
        assert ours.mpp == pytest.approx(0.5)
        assert theirs.mpp == pytest.approx(0.5)


def test_what_was_not_scanned_is_white(path: Path) -> None:
    class HalfScanned:
        level_dimensions, level_downsamples, properties = [(20, 10)], [1.0], {}

        def read_region(self, place: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
            picture = Image.new("RGBA", size, (0, 0, 0, 0))
            picture.paste((10, 20, 30, 255), (0, 0, size[0] // 2, size[1]))
            picture.putpixel((size[0] - 1, 0), (100, 100, 100, 128))
            return picture

    pixels = OpenSlideSlide(path, HalfScanned()).read(0, 0, 0, 10, 20)
    assert (pixels[:, :10] == (10, 20, 30)).all()
    assert (pixels[1:, 10:] == 255).all()
    assert tuple(pixels[0, 19]) == (177, 177, 177)  # half of 100, half of white
