"""What headers promise is held against the file before anything is decoded: fast, in words, in little memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.frugal import frugal
from xaipipe import InputError, Registry
from xaipipe.slides import open_slide
from xaipipe.testing import striped_pixels

PIXELS = striped_pixels(150, 170)


def tiff(entries: list[tuple[int, int, int, int]], tail: bytes = b"", big: bool = False, after: int = 0) -> bytes:
    """A little-endian TIFF with one directory of (tag, type, count, value), and the offset of the next one."""
    entries = sorted(entries)
    if big:
        fields = b"".join(struct.pack("<HHQQ", *entry) for entry in entries)
        return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(entries)) + fields + struct.pack("<Q", after) + tail
    fields = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + struct.pack("<I", after) + tail


SHORT, LONG, LONG8 = 3, 4, 16


def tiled(height: int, width: int, tile: int, table: int, kind: int = LONG) -> list[tuple[int, int, int, int]]:
    """RGB tiles whose tables of offsets and sizes, of `table` entries, lie at byte 400."""
    return [
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        (258, SHORT, 1, 8),
        (259, SHORT, 1, 1),
        (262, SHORT, 1, 1),
        (277, SHORT, 1, 1),
        (322, LONG, 1, tile),
        (323, LONG, 1, tile),
        (324, kind, table, 400),
        (325, LONG, table, 400),
    ]


LOOP = tiff(tiled(64, 64, 64, 1), bytes(1000), after=8)
BOMBS: dict[str, tuple[bytes, str]] = {
    "a table that does not fit the file": (tiff(tiled(1 << 20, 1 << 20, 64, 1 << 28), bytes(600)), ""),
    "a table of a petabyte": (tiff(tiled(1 << 30, 1 << 30, 16, 1 << 50, LONG8), bytes(600), big=True), ""),
    "a million megapixels": (tiff(tiled(1 << 30, 1 << 30, 1 << 13, 1), bytes(600)), "the slide lists too few tiles"),
    "a tile as large as the slide": (tiff(tiled(1 << 20, 1 << 20, 1 << 20, 1), bytes(600)), "tiles have a size that"),
    "tiles without a side": (tiff(tiled(64, 64, 0, 1), bytes(600)), ""),
}


@pytest.mark.parametrize("name", BOMBS)
def test_page_tables_that_promise_too_much_are_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    content, message = BOMBS[name]
    (tmp_path / "bomb.tif").write_bytes(content)
    with frugal(), pytest.raises(InputError) as caught:
        open_slide(registry, tmp_path / "bomb.tif")
    assert message in str(caught.value)


def test_directories_that_lead_in_a_circle_are_refused(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "loop.tif").write_bytes(LOOP)
    with frugal(), pytest.raises(InputError, match="directories run in a circle"):
        open_slide(registry, tmp_path / "loop.tif")


def test_a_million_directories_are_not_waited_for(registry: Registry, tmp_path: Path) -> None:
    """Each a tiny page that leads to the next: the file is 18 MB, what it describes is nothing."""
    one = struct.pack("<H", 1) + struct.pack("<HHII", 256, LONG, 1, 1)
    size = len(one) + 4
    chain = b"".join(one + struct.pack("<I", 8 + size * (i + 1)) for i in range(1_000_000))
    (tmp_path / "chain.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + chain[:-4] + bytes(4))
    with frugal(), pytest.raises(InputError, match="the TIFF has too many pages"):
        open_slide(registry, tmp_path / "chain.tif")


def test_a_million_directories_below_one_are_not_waited_for(registry: Registry, tmp_path: Path) -> None:
    entries = [*tiled(64, 64, 64, 1), (330, LONG, 1_000_000, 1000)]
    (tmp_path / "wide.tif").write_bytes(tiff(entries, bytes(1000) + struct.pack("<I", 8) * 1_000_000))
    with frugal(), pytest.raises(InputError, match="the TIFF has too many pages"):
        open_slide(registry, tmp_path / "wide.tif")


def jpeg_slide(path: Path) -> Path:
    tifffile.imwrite(path, PIXELS, tile=(64, 64), photometric="rgb", compression="jpeg", metadata=None)
    return path


def with_first_tile(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """The same slide with other bytes, of the same number, in its first tile."""
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    data = path.read_bytes()
    changed = change(data[offset : offset + count])
    assert len(changed) == count
    path.write_bytes(data[:offset] + changed + data[offset + count :])
    return path


def grown(jpeg: bytes) -> bytes:
    """Its frame says 65500 × 65500 pixels, 13 GB."""
    frame = jpeg.index(b"\xff\xc0")
    return jpeg[: frame + 5] + struct.pack(">HH", 65_500, 65_500) + jpeg[frame + 9 :]


def test_a_tile_whose_own_header_promises_more_is_never_decoded(registry: Registry, tmp_path: Path) -> None:
    path = with_first_tile(jpeg_slide(tmp_path / "slide.tif"), grown)
    with (
        closing(open_slide(registry, path)) as slide,
        frugal(),
        pytest.raises(InputError, match="cannot be decoded") as e,
    ):
        slide.read(0, 0, 0, 64, 64)
    assert "65500 × 65500 pixels of 3 channels in a tile of 64 × 64" in str(e.value)


@pytest.mark.parametrize("compression", ["deflate", "zstd", "lzw"])
def test_a_tile_that_inflates_to_more_than_a_tile_stays_within_it(
    registry: Registry, tmp_path: Path, compression: str
) -> None:
    """256 MB of zeros in a few hundred kilobytes at most, where 12 kB are expected."""
    encode = {"deflate": imagecodecs.zlib_encode, "zstd": imagecodecs.zstd_encode, "lzw": imagecodecs.lzw_encode}
    bomb = encode[compression](bytes(1 << (24 if compression == "lzw" else 28)))
    tifffile.imwrite(
        tmp_path / "bomb.tif",
        iter([bomb] * 9),
        shape=PIXELS.shape,
        dtype=np.uint8,
        tile=(64, 64),
        photometric="rgb",
        compression=compression,
        metadata=None,
    )
    with closing(open_slide(registry, tmp_path / "bomb.tif")) as slide, frugal(), suppress(InputError):
        assert not slide.read(0, 0, 0, 64, 64).any()


def test_a_file_far_larger_than_its_picture_is_not_read(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "padded.png"
    path.write_bytes(imagecodecs.png_encode(PIXELS))
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    with frugal(), pytest.raises(InputError, match="far larger than its image"):
        open_slide(registry, path)


def test_16_bits_and_transparency_count(registry: Registry, tmp_path: Path) -> None:
    """Not more pixels than allowed, but eight bytes of each."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 16, 6, 0, 0, 0)
    png = imagecodecs.png_encode(PIXELS)
    (tmp_path / "deep.png").write_bytes(png[:16] + header + png[29:])
    with (
        frugal(),
        pytest.raises(InputError, match="too large to be decoded at once\n  got: 30000 × 30000 pixels, 72000000"),
    ):
        open_slide(registry, tmp_path / "deep.png")


def test_a_profile_that_inflates_without_end_is_cut(registry: Registry, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png", icc_profile=bytes(1 << 28))
    with frugal(60e6), closing(open_slide(registry, tmp_path / "a.png")) as slide:
        assert slide.profile is None or len(slide.profile) <= 1 << 24
