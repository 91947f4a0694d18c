"""Readers: the contract on every kind of file, pixels against other programs, micrometres per pixel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from xaipipe import InputError, Slide
from xaipipe.testing import ReaderContract, striped_pixels
from xaipipe_readers import open_slide
from xaipipe_readers.levels import downsample_of
from xaipipe_readers.orientation import exif_orientation

HEIGHT, WIDTH = 150, 170
PIXELS = striped_pixels(HEIGHT, WIDTH)
GREY = np.ascontiguousarray(PIXELS[:, :, 2])


class PluginReader(ReaderContract):
    def open(self, path: Path) -> Slide | None:
        return open_slide(path)


class TestPng(PluginReader):
    def write(self, folder: Path) -> Path:
        return saved(folder / "picture.png", imagecodecs.png_encode(PIXELS))

    def expected(self, path: Path) -> np.ndarray:
        return PIXELS


class TestJpeg(PluginReader):
    def write(self, folder: Path) -> Path:
        return saved(folder / "picture.jpg", imagecodecs.jpeg8_encode(PIXELS, level=90))

    def expected(self, path: Path) -> np.ndarray:
        return imagecodecs.imread(path)


class TestBmp(PluginReader):
    def write(self, folder: Path) -> Path:
        return saved(folder / "picture.bmp", imagecodecs.bmp_encode(PIXELS))

    def expected(self, path: Path) -> np.ndarray:
        return PIXELS


class TestNpy(PluginReader):
    def write(self, folder: Path) -> Path:
        np.save(folder / "picture.npy", PIXELS)
        return folder / "picture.npy"

    def expected(self, path: Path) -> np.ndarray:
        return PIXELS


class TestPlainTiff(PluginReader):
    def write(self, folder: Path) -> Path:
        tifffile.imwrite(folder / "plain.tif", PIXELS, photometric="rgb", metadata=None)
        return folder / "plain.tif"

    def expected(self, path: Path) -> np.ndarray:
        return tifffile.imread(path)


class TiledTiff(PluginReader):
    """A pyramid of two levels; subclasses choose the compression."""

    compression: str | None = None

    def write(self, folder: Path) -> Path:
        return write_pyramid(folder / "slide.tif", compression=self.compression)

    def expected(self, path: Path) -> np.ndarray:
        return tifffile.imread(path, series=0, level=0)


class TestUncompressedTiles(TiledTiff):
    pass


class TestJpegTiles(TiledTiff):
    compression = "jpeg"


class TestDeflateTiles(TiledTiff):
    compression = "adobe_deflate"


class TestLzwTiles(TiledTiff):
    compression = "lzw"


class TestZstdTiles(TiledTiff):
    compression = "zstd"


class TestGreyTiles(TiledTiff):
    def write(self, folder: Path) -> Path:
        tifffile.imwrite(folder / "slide.tif", GREY, tile=(64, 64), photometric="minisblack", metadata=None)
        return folder / "slide.tif"

    def expected(self, path: Path) -> np.ndarray:
        return np.repeat(tifffile.imread(path)[:, :, None], 3, axis=2)


class TestOmeTiff(TiledTiff):
    def write(self, folder: Path) -> Path:
        path = folder / "slide.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as tif:
            options = {"tile": (64, 64), "compression": "zstd", "photometric": "rgb"}
            tif.write(PIXELS, subifds=1, metadata={"axes": "YXS"}, **options)
            tif.write(PIXELS[::4, ::4], subfiletype=1, **options)
        return path


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def write_pyramid(path: Path, compression: str | None = None, description: str | None = None, **resolution) -> Path:
    options = {"tile": (64, 64), "compression": compression, "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as tif:
        tif.write(PIXELS, description=description, **resolution, **options)
        tif.write(PIXELS[::4, ::4], subfiletype=1, **options)
    return path


@contextmanager
def opened(path: Path) -> Iterator[Slide]:
    slide = open_slide(path)
    assert slide is not None
    with closing(slide):
        yield slide


def read_all(path: Path) -> np.ndarray:
    with opened(path) as slide:
        return slide.read(0, 0, 0, slide.levels[0].height, slide.levels[0].width)


def mpp_of(path: Path) -> float | None:
    with opened(path) as slide:
        return slide.mpp


def test_grey_is_repeated(tmp_path: Path) -> None:
    path = saved(tmp_path / "grey.png", imagecodecs.png_encode(GREY))
    np.testing.assert_array_equal(read_all(path), np.repeat(GREY[:, :, None], 3, axis=2))


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    alpha = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
    path = saved(tmp_path / "clear.png", imagecodecs.png_encode(np.dstack([PIXELS, alpha])))
    share = alpha[:, :, None] / 255.0
    np.testing.assert_allclose(read_all(path), PIXELS * share + 255 * (1 - share), atol=0.51)


def test_16_bits_are_scaled_down(tmp_path: Path) -> None:
    deep = PIXELS.astype(np.uint16) * 257
    path = saved(tmp_path / "deep.png", imagecodecs.png_encode(deep))
    np.testing.assert_array_equal(read_all(path), PIXELS)


def test_aperio_says_its_resolution(tmp_path: Path) -> None:
    text = "Aperio Image Library v11\n150x170 JPEG Q=70|AppMag = 20|MPP = 0.4990|Left = 1"
    assert mpp_of(write_pyramid(tmp_path / "slide.svs", "jpeg", text)) == 0.499


@pytest.mark.parametrize(("unit", "size", "mpp"), [("µm", 0.25, 0.25), ("nm", 250.0, 0.25), ("mm", 0.0005, 0.5)])
def test_ome_xml_says_its_resolution(tmp_path: Path, unit: str, size: float, mpp: float) -> None:
    facts = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit, "PhysicalSizeY": size}
    facts["PhysicalSizeYUnit"] = unit
    path = tmp_path / "slide.ome.tif"
    tifffile.imwrite(path, PIXELS, ome=True, tile=(64, 64), photometric="rgb", metadata=facts)
    assert mpp_of(path) == pytest.approx(mpp)


@pytest.mark.parametrize(("unit", "per_unit", "mpp"), [("CENTIMETER", 20_000, 0.5), ("INCH", 50_800, 0.5)])
def test_resolution_tags_say_the_resolution(tmp_path: Path, unit: str, per_unit: int, mpp: float) -> None:
    tags = {"resolution": (per_unit, per_unit), "resolutionunit": unit}
    assert mpp_of(write_pyramid(tmp_path / "slide.tif", **tags)) == pytest.approx(mpp)


def test_no_resolution_is_none(tmp_path: Path) -> None:
    with opened(write_pyramid(tmp_path / "slide.tif")) as slide:
        assert slide.mpp is None
        assert [level.downsample for level in slide.levels] == [1.0, 4.0]


def test_missing_tile_is_background(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    tile = np.full((64, 64, 3), 9, np.uint8)
    tiles = iter([tile, None, tile, tile])
    tifffile.imwrite(path, tiles, shape=(128, 128, 3), dtype=np.uint8, tile=(64, 64), photometric="rgb")
    pixels = read_all(path)
    assert (pixels[:64, 64:] == 255).all()
    assert (pixels[64:] == 9).all()


def test_pixels_that_are_no_picture_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    tifffile.imwrite(path, GREY.astype(np.float32), tile=(64, 64), metadata=None)
    with pytest.raises(InputError, match="kind that cannot be read") as caught:
        open_slide(path)
    assert "float32" in str(caught.value)


def test_a_saved_array_in_columns_is_read_too(tmp_path: Path) -> None:
    np.save(tmp_path / "columns.npy", np.asfortranarray(PIXELS))
    np.testing.assert_array_equal(read_all(tmp_path / "columns.npy"), PIXELS)


@pytest.mark.parametrize("pixels", [GREY, PIXELS.astype(np.float32), np.dstack([PIXELS, GREY]), PIXELS[:0]])
def test_saved_arrays_that_are_no_pictures_are_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    np.save(tmp_path / "array.npy", pixels)
    with pytest.raises(InputError, match="the array is not a picture") as caught:
        open_slide(tmp_path / "array.npy")
    assert "expected: uint8 (height, width, 3)" in str(caught.value)


def test_a_saved_object_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="the array cannot be read"):
        open_slide(tmp_path / "object.npy")


def test_an_array_that_promises_more_than_its_file_holds_is_refused(tmp_path: Path) -> None:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1048576, 1048576, 3), }"
    text = header.ljust(117) + "\n"
    path = saved(tmp_path / "huge.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())
    with pytest.raises(InputError, match="the array cannot be read"):
        open_slide(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_as_a_viewer_shows_them(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(path, exif=exif, quality=95, subsampling=0)
    with Image.open(path) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    with closing(open_slide(path)) as slide:
        level = slide.levels[0]
        pixels = slide.read(0, 0, 0, level.height, level.width)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= 2  # two decoders round differently


@pytest.mark.parametrize("exif", [b"", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff"])
def test_broken_exif_is_upright(exif: bytes) -> None:
    segment = b"Exif\0\0" + exif
    jpeg = b"\xff\xd8\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + b"\xff\xda"
    assert exif_orientation(jpeg) == 1


@pytest.mark.parametrize(
    ("base", "small", "expected"),
    [((1600, 1200), (397, 298), 4.03), ((1601, 1203), (400, 300), 4.0), ((1600, 1200), (400, 300), 4.0)],
)
def test_a_downsample_is_whole_only_where_the_sizes_say_so(
    base: tuple[int, int], small: tuple[int, int], expected: float
) -> None:
    assert downsample_of(base, small) == pytest.approx(expected, abs=0.005)


def test_a_resolution_for_printers_is_no_size_of_a_specimen(tmp_path: Path) -> None:
    path = tmp_path / "photograph.tif"
    tifffile.imwrite(path, PIXELS, tile=(64, 64), photometric="rgb", resolution=(72, 72), resolutionunit="INCH")
    with closing(open_slide(path)) as slide:
        assert slide.mpp is None
        assert not slide.pyramidal


def test_pixels_that_are_not_square_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "stretched.tif"
    tifffile.imwrite(
        path, PIXELS, tile=(64, 64), photometric="rgb", resolution=(20000, 10000), resolutionunit="CENTIMETER"
    )
    with pytest.raises(InputError, match="not square"):
        open_slide(path)
