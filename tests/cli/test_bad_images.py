"""Images that are none, damaged, or lie about their size: exit 65, named, quickly, and without harm."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.frugal import frugal
from xaipipe import InputError, Registry
from xaipipe.slides import open_slide

Cli = Callable[..., Any]
HUGE = 10**9


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound file of every kind."""
    folder = tmp_path_factory.mktemp("sound")
    rng = np.random.default_rng(0)
    rgb = np.kron(rng.integers(0, 255, (8, 10, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    (folder / "a.png").write_bytes(imagecodecs.png_encode(rgb))
    (folder / "a.jpg").write_bytes(imagecodecs.jpeg8_encode(rgb))
    (folder / "a.bmp").write_bytes(imagecodecs.bmp_encode(rgb))
    tifffile.imwrite(folder / "strips.tif", rgb)
    tifffile.imwrite(folder / "deflate.tif", rgb, compression="deflate")
    tifffile.imwrite(folder / "tiled.tif", rgb, tile=(16, 16), photometric="rgb")
    tifffile.imwrite(folder / "tiled-jpeg.tif", rgb, tile=(16, 16), photometric="rgb", compression="jpeg")
    return folder


KINDS = ["a.png", "a.jpg", "a.bmp", "strips.tif", "deflate.tif", "tiled.tif", "tiled-jpeg.tif"]


@pytest.fixture
def refused(cli: Cli, model_file: Path) -> Callable[[Path], str]:
    """The message for an image that cannot be used, by `explain` and `run` alike; the model never ran."""

    def call(image: Path) -> str:
        answer = cli("explain", image, "--model", "model.py:build", "--trust")
        Path("run.toml").write_text('[model]\nsource = "model.py:build"\n[explain]\nmethod = "gradcam"\n')
        again = cli("run", image, "--config", "run.toml", "--trust", "-o", "out.zarr")
        assert (answer.code, again.code) == (65, 65), answer.err + again.err
        assert answer.err == again.err
        assert str(image) in answer.err
        assert not model_file.with_name("was-run").exists()
        assert not Path("out.zarr").exists()
        return str(answer.err)

    return call


def test_every_sound_file_opens(files: Path, registry: Registry) -> None:
    for kind in KINDS:
        slide = open_slide(registry, files / kind)
        assert slide.read(0, 0, 0, 64, 80).shape == (64, 80, 3)
        slide.close()


def test_a_missing_file(refused: Any, tmp_path: Path) -> None:
    assert "error: there is no such file\n" in refused(tmp_path / "nowhere.png")


def test_an_empty_file(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert "error: the file is empty\n" in refused(tmp_path / "empty.png")


def test_a_folder(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    assert "error: no reader knows this file\n  got: a folder\n" in refused(tmp_path / "folder.png")


def test_a_text_file(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("this is not a picture")
    text = refused(tmp_path / "text.png")
    assert "error: no reader knows this file\n  got: not an image" in text
    assert "next: `xaipipe plugins` lists the readers" in text


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_cut_short(refused: Any, files: Path, tmp_path: Path, kind: str, share: float) -> None:
    whole = (files / kind).read_bytes()
    (tmp_path / kind).write_bytes(whole[: int(len(whole) * share)])
    assert "cut short" in refused(tmp_path / kind)


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def tiff_of(width: int, height: int, tile: int | None) -> bytes:
    """A grey TIFF of one strip or one tile, whatever its size."""
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (277, 1)]
    if tile is None:
        entries += [(273, 8), (278, height), (279, 100)]
    else:
        entries += [(322, tile), (323, tile), (324, 8), (325, 100)]
    packed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4) + bytes(200)


def bmp_of(files: Path, width: int, height: int) -> bytes:
    data = bytearray((files / "a.bmp").read_bytes())
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def jpeg_of(files: Path, width: int, height: int) -> bytes:
    data = bytearray((files / "a.jpg").read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


BOMBS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "huge.png": (lambda _: png_of(HUGE, HUGE), "1000000000 × 1000000000 pixels"),
    "strip.tif": (lambda _: tiff_of(HUGE, HUGE, None), "1000000000 × 1000000000 pixels"),
    "tiles.tif": (lambda _: tiff_of(HUGE, HUGE, 256), "the slide lists too few tiles"),
    "tile.tif": (lambda _: tiff_of(HUGE, HUGE, 1 << 30), "1073741824 × 1073741824"),
    "no-tile.tif": (lambda _: tiff_of(64, 64, 0), "cannot be"),
    "no-width.tif": (lambda _: tiff_of(0, 64, 16), "the slide has no pixels\n  got: 64 × 0"),
    "huge.bmp": (lambda files: bmp_of(files, HUGE, HUGE), "1000000000 × 1000000000 pixels"),
    "large.bmp": (lambda files: bmp_of(files, 30_000, 30_000), "30000 × 30000 pixels of 24 bits in"),
    "upside-down.bmp": (lambda files: bmp_of(files, 30_000, -30_000), "30000 × -30000 pixels"),
    "huge.jpg": (lambda files: jpeg_of(files, 65_500, 65_500), "65500 × 65500 pixels"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_header_that_promises_too_much_is_refused_before_anything_is_allocated(
    refused: Any, files: Path, tmp_path: Path, name: str
) -> None:
    content, message = BOMBS[name]
    (tmp_path / name).write_bytes(content(files))
    with frugal(memory=100e6):
        text = refused(tmp_path / name)
    assert message in text


@pytest.mark.parametrize(
    "name", ["ink.jpg", "ink.tif", "ink-tiled.tif", "palette.tif", "palette-tiled.tif", "inverted.tif"]
)
def test_colours_that_would_be_mistaken_for_others_are_refused(refused: Any, tmp_path: Path, name: str) -> None:
    ink = np.full((32, 32, 4), 200, np.uint8)
    tile = {"tile": (16, 16)} if "tiled" in name else {}
    if name == "ink.jpg":
        Image.fromarray(ink, "CMYK").save(tmp_path / name)
    elif name.startswith("ink"):
        tifffile.imwrite(tmp_path / name, ink, photometric="separated", **tile)
    elif name.startswith("palette"):
        table = np.zeros((3, 256), np.uint16)
        tifffile.imwrite(tmp_path / name, ink[..., 0], photometric="palette", colormap=table, **tile)
    else:
        tifffile.imwrite(tmp_path / name, ink[..., 0], photometric="miniswhite")
    text = refused(tmp_path / name)
    assert "expected: grey" in text
    assert "next: convert it to RGB" in text


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_pixels_that_are_no_picture_are_refused(refused: Any, tmp_path: Path, tile: Any) -> None:
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((32, 32), np.float32), tile=tile)
    assert "got: float32" in refused(tmp_path / "f.tif")


def test_what_a_camera_appends_to_a_jpeg_does_no_harm(files: Path, tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "motion.jpg").write_bytes((files / "a.jpg").read_bytes() + b"a film of three seconds")
    moved, still = (
        open_slide(registry, folder / name) for folder, name in ((tmp_path, "motion.jpg"), (files, "a.jpg"))
    )
    assert np.array_equal(moved.read(0, 0, 0, 64, 80), still.read(0, 0, 0, 64, 80))


def test_a_slide_too_large_to_be_one_picture_points_to_run(cli: Cli, model_file: Path, tmp_path: Path) -> None:
    tile = 8_000
    rows = np.zeros((tile, tile), np.uint8)
    with tifffile.TiffWriter(tmp_path / "wide.tif") as tif:
        tif.write(iter([rows] * 5), shape=(tile, 5 * tile), dtype="uint8", tile=(tile, tile), compression="deflate")
    answer = cli("explain", tmp_path / "wide.tif", "--model", "model.py:build", "--trust")
    assert answer.code == 2
    assert "the image is too large to be explained at once\n  got: 40000 × 8000 pixels" in answer.err
    assert "next: `xaipipe run` explains it tile by tile" in answer.err
    assert not model_file.with_name("was-run").exists()


def test_a_damaged_tile_is_left_out_of_a_run_with_its_place(cli: Cli, run_file: Path, slide_file: Path) -> None:
    with tifffile.TiffFile(slide_file) as tif:
        start, count = tif.pages[0].dataoffsets[5], tif.pages[0].databytecounts[5]
    data = bytearray(slide_file.read_bytes())
    data[start : start + count] = bytes(count)
    slide_file.write_bytes(data)
    answer = cli("run", slide_file, "--config", run_file, "--trust", "-o", "out.zarr")
    assert answer.code == 3
    assert "tiles: 1; a tile of the slide cannot be decoded: " in answer.out
    listed = Path("out.zarr/unreadable.csv").read_text()
    assert "heatmap,0,0,160,32,32,a tile of the slide cannot be decoded" in listed


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_header_is_refused_or_read_but_never_anything_else(
    files: Path, tmp_path: Path, registry: Registry, kind: str, changes: list[tuple[float, int]]
) -> None:
    """Bytes of the first 200 are changed; what opens can be read, what does not says so in our words."""
    data = bytearray((files / kind).read_bytes())
    for place, value in changes:
        data[4 + int(place * 196)] = value
    (tmp_path / kind).write_bytes(data)
    try:
        slide = open_slide(registry, tmp_path / kind)
    except InputError:
        return
    try:
        slide.read(0, 0, 0, min(slide.levels[0].height, 16), min(slide.levels[0].width, 16))
    except InputError:
        pass
    finally:
        slide.close()
