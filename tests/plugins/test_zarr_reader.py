"""OME-Zarr as slides: the contract for both versions, what metadata says, what is refused, and URLs."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore

from tests.frugal import frugal
from tests.plugins.zarrs import write_zarr
from xaipipe import InputError, Slide
from xaipipe.slides import open_slide as open_checked
from xaipipe.testing import ReaderContract, striped_pixels
from xaipipe_readers import open_slide, open_url

HEIGHT, WIDTH = 150, 170
PIXELS = striped_pixels(HEIGHT, WIDTH)
GREY = np.ascontiguousarray(PIXELS[:, :, 2])


class ZarrReader(ReaderContract):
    options: ClassVar[dict[str, Any]] = {}

    def open(self, path: Path) -> Slide | None:
        return open_slide(path)

    def write(self, folder: Path) -> Path:
        return write_zarr(folder / "slide.zarr", PIXELS, **self.options)

    def expected(self, path: Path) -> np.ndarray:
        values = zarr.open_array(path / "0", mode="r")[...]
        return np.moveaxis(values.reshape(3, HEIGHT, WIDTH), 0, 2)

    def change(self, path: Path) -> None:
        zarr.open_array(path / "0", mode="r+")[..., :64, :64] = 9

    def cut(self, path: Path, share: float) -> None:
        """One chunk of level 0, as a copy that was interrupted leaves it."""
        chunks = (
            file
            for file in (path / "0").rglob("*")
            if file.is_file() and "zarr" not in file.name and file.name[0] != "."
        )
        super().cut(sorted(chunks)[-1], share)


class TestZarr3(ZarrReader):
    pass


class TestZarr2(ZarrReader):
    options: ClassVar = {"version": "0.4"}


class TestShards(ZarrReader):
    options: ClassVar = {"chunks": (1, 32, 32), "shards": (3, 64, 64)}


class TestFiveAxes(ZarrReader):
    options: ClassVar = {"axes": "tczyx"}


class TestUncompressed(ZarrReader):
    """Without a checksum a chunk that is cut short shows by its length alone."""

    options: ClassVar = {"compressors": None}


class TestFileUrl(ZarrReader):
    def open(self, path: Path) -> Slide | None:
        return open_url(f"file://{path}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A folder on the web with a slide."""
    folder = tmp_path_factory.mktemp("web")
    write_zarr(folder / "slide.zarr", PIXELS)

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def whole(slide: Slide | None) -> np.ndarray:
    assert slide is not None
    with closing(slide):
        return slide.read(0, 0, 0, slide.levels[0].height, slide.levels[0].width)


def mpp_of(path: Path) -> float | None:
    slide = open_slide(path)
    assert slide is not None
    return slide.mpp


def test_a_slide_on_the_web(served: str) -> None:
    slide = open_url(f"{served}/slide.zarr")
    assert slide is not None
    assert (slide.name, slide.location, slide.mpp) == ("slide.zarr", f"{served}/slide.zarr", 0.5)
    np.testing.assert_array_equal(whole(slide), PIXELS)


def test_nothing_on_the_web_is_nobodys(served: str) -> None:
    assert open_url(f"{served}/nowhere.zarr") is None
    assert open_url("gopher://nowhere/slide.zarr") is None


def test_a_machine_that_does_not_answer_is_worded() -> None:
    with pytest.raises(InputError, match="cannot be read") as caught:
        open_url("http://127.0.0.1:9/slide.zarr")
    assert "can it be reached" in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(FsspecStore, "from_url", refuse)
    with pytest.raises(InputError, match="a package is missing") as caught:
        open_url("s3://bucket/slide.zarr")
    assert "xaipipe[remote]" in str(caught.value)


def test_a_slide_in_fsspecs_memory() -> None:
    write_zarr(FsspecStore.from_url("memory://shelf/slide.zarr"), PIXELS)
    np.testing.assert_array_equal(whole(open_url("memory://shelf/slide.zarr")), PIXELS)


@pytest.mark.parametrize("axes", ["yx", "cyx", "zyx", "tyx", "czyx", "tcyx", "tczyx"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_every_legal_set_of_axes(tmp_path: Path, axes: str, version: str) -> None:
    pixels = PIXELS if "c" in axes else GREY
    slide = open_slide(write_zarr(tmp_path / "s.zarr", pixels, axes=axes, version=version))
    expected = PIXELS if "c" in axes else np.repeat(GREY[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(whole(slide), expected)


def test_one_channel_is_grey(tmp_path: Path) -> None:
    slide = open_slide(write_zarr(tmp_path / "s.zarr", GREY))
    np.testing.assert_array_equal(whole(slide), np.repeat(GREY[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("unit", "scale", "whole_scale", "mpp"),
    [
        ("micrometer", 0.25, None, 0.25),
        ("nanometer", 250, None, 0.25),
        ("millimeter", 0.0005, None, 0.5),
        ("angstrom", 5000, None, 0.5),
        ("micrometer", 1.0, 0.25, 0.25),
        (None, 0.25, None, None),
        ("furlong", 0.25, None, None),
    ],
)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_micrometres_per_pixel(
    tmp_path: Path, unit: str | None, scale: float, whole_scale: float | None, mpp: float | None, version: str
) -> None:
    path = write_zarr(tmp_path / "s.zarr", PIXELS, unit=unit, scale=scale, whole=whole_scale, version=version)
    assert mpp_of(path) == (None if mpp is None else pytest.approx(mpp))


def edited(path: Path, edit: Any) -> Path:
    """The same Zarr 3 group with other metadata."""
    group = zarr.open_group(path, mode="r+")
    ome = group.attrs.asdict()["ome"]
    edit(ome)
    group.attrs["ome"] = ome
    return path


def test_pixels_that_are_not_square_are_refused(tmp_path: Path) -> None:
    def stretch(ome: dict) -> None:
        ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"][-1] = 0.7

    path = edited(write_zarr(tmp_path / "s.zarr", PIXELS), stretch)
    with pytest.raises(InputError, match="not square"):
        open_slide(path)


def test_a_downsample_is_what_is_stated_where_the_sizes_allow_it(tmp_path: Path) -> None:
    pixels = striped_pixels(103, 203)
    slide = open_slide(write_zarr(tmp_path / "s.zarr", pixels, steps=(1, 2, 8)))
    assert [level.downsample for level in slide.levels] == [1.0, 2.0, 8.0]
    path = write_zarr(tmp_path / "t.zarr", pixels, steps=(1, 4))
    sloppy = edited(
        path,
        lambda ome: ome["multiscales"][0]["datasets"][1].update(ome["multiscales"][0]["datasets"][0] | {"path": "1"}),
    )
    assert [level.downsample for level in open_slide(sloppy).levels] == [1.0, 4.0]


def test_16_bits_are_shown_in_their_windows(tmp_path: Path) -> None:
    channels = [{"color": c, "window": {"start": 100, "end": 1100}} for c in ("FF0000", "00FF00", "0000FF")]
    deep = PIXELS.astype(np.uint16) * 5
    path = write_zarr(tmp_path / "s.zarr", deep, changes={"omero": {"channels": channels}})
    np.testing.assert_array_equal(whole(open_slide(path)), np.rint(np.clip((deep - 100.0) / 1000, 0, 1) * 255))


def windowless(path: Path) -> Path:
    return write_zarr(path, PIXELS.astype(np.uint16))


def coloured(path: Path) -> Path:
    channels = [{"color": colour} for colour in ("0000FF", "00FF00", "FF0000")]
    return write_zarr(path, PIXELS, changes={"omero": {"channels": channels}})


def turned(path: Path) -> Path:
    def turn(ome: dict) -> None:
        ome["multiscales"][0]["axes"].reverse()

    return edited(write_zarr(path, PIXELS), turn)


def of_several_planes(path: Path) -> Path:
    group = zarr.open_group(write_zarr(path, GREY, axes="zyx", steps=(1,)), mode="r+")
    group.create_array("0", shape=(5, 64, 64), chunks=(1, 64, 64), dtype="uint8", overwrite=True)
    return path


def with_version(version: str) -> Any:
    return lambda path: edited(write_zarr(path, PIXELS), lambda ome: ome.update(version=version))


def plate(path: Path) -> Path:
    zarr.open_group(path, mode="w").attrs["ome"] = {"version": "0.5", "plate": {}}
    return path


def without_a_level(path: Path) -> Path:
    return edited(write_zarr(path, PIXELS), lambda ome: ome["multiscales"][0]["datasets"][1].update(path="nowhere"))


def without_pixels(path: Path) -> Path:
    return write_zarr(path, PIXELS[:0], steps=(1,), chunks=(3, 64, 64))


REFUSED: dict[str, tuple[Any, str]] = {
    "float": (lambda path: write_zarr(path, PIXELS.astype(np.float32)), "the array is not a picture\n  got: float32"),
    "windowless": (windowless, "nothing says how the 16 bits are to be shown"),
    "four": (lambda path: write_zarr(path, np.dstack([PIXELS, GREY])), "not red, green and blue\n  got: 4 channels"),
    "fluorescence": (coloured, "3 channels of the colours 0000FF, 00FF00, FF0000"),
    "turned": (turned, "axes are in an order that cannot be read\n  got: x, y, c"),
    "planes": (of_several_planes, "the slide has several planes\n  got: 5 along z"),
    "old": (with_version("0.3"), "this version of OME-NGFF cannot be read\n  got: 0.3"),
    "plate": (plate, "holds no image of OME-NGFF\n  got: a plate"),
    "no level": (without_a_level, "the Zarr cannot be read\n  got: KeyError"),
    "no pixels": (without_pixels, "does not fit the image's axes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_slide_is_refused_in_words(tmp_path: Path, kind: str) -> None:
    write, message = REFUSED[kind]
    path = write(tmp_path / "s.zarr")
    with pytest.raises(InputError) as caught:
        open_slide(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value.facts["where"])


@pytest.mark.parametrize("damage", ["{", "[]", '{"zarr_format": 3, "node_type": "group", "attributes": {"ome": 3}}'])
def test_damaged_metadata_is_worded(tmp_path: Path, damage: str) -> None:
    path = write_zarr(tmp_path / "s.zarr", PIXELS)
    (path / "zarr.json").write_text(damage)
    with pytest.raises(InputError, match="the Zarr cannot be read"):
        open_slide(path)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    assert open_slide(tmp_path) is None
    (tmp_path / ".zattrs").write_text("{}")
    assert open_slide(tmp_path) is None


def header(path: Path, **changes: Any) -> Path:
    """The same Zarr with another header of level 0."""
    file = path / "0" / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return path


def grid(*chunk: int) -> dict[str, Any]:
    return {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}}}


BOMBS: dict[str, tuple[dict[str, Any], str]] = {
    "chunk": (grid(3, 1 << 20, 1 << 20), "chunks have a size that cannot be read"),
    "channels": (grid(1 << 30, 64, 64), "chunks have a size that cannot be read"),
    "size": ({"shape": (3, 1 << 40, 1 << 40)}, "impossible size"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_header_that_promises_too_much_is_refused_before_anything_is_read(
    tmp_path: Path, kind: str, registry: Any
) -> None:

    changes, message = BOMBS[kind]
    path = header(write_zarr(tmp_path / "s.zarr", PIXELS, steps=(1,)), **changes)
    with frugal(memory=20e6), pytest.raises(InputError, match=message):
        open_checked(registry, path)


def test_shards_of_too_many_chunks_are_refused(tmp_path: Path) -> None:
    """Their index alone would fill the memory."""
    path = write_zarr(tmp_path / "s.zarr", PIXELS, steps=(1,), chunks=(1, 32, 32), shards=(3, 64, 64))
    (codec,) = json.loads((path / "0" / "zarr.json").read_text())["codecs"]
    codec["configuration"]["chunk_shape"] = [1, 1, 1]
    with pytest.raises(InputError, match="chunks have a size"):
        open_slide(header(path, codecs=[codec], **grid(3, 4096, 4096)))


def with_header_2(path: Path, **changes: Any) -> Path:
    file = write_zarr(path, PIXELS, version="0.4", steps=(1,)) / "0" / ".zarray"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return path


class Intruder:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("place", ["compressor", "filters"])
def test_code_in_a_chunk_is_never_run(tmp_path: Path, place: str) -> None:
    """numcodecs would unpickle a chunk, and unpickling runs whatever the file says."""
    codec = {"id": "pickle", "protocol": 5}
    path = with_header_2(tmp_path / "s.zarr", **{place: [codec] if place == "filters" else codec})
    for chunk in (path / "0").rglob("*.*.*"):
        chunk.write_bytes(pickle.dumps(Intruder(tmp_path / "was-here")))
    with pytest.raises(InputError):
        whole(open_slide(path))
    assert not (tmp_path / "was-here").exists()


def test_codecs_that_are_no_compression_are_refused(tmp_path: Path) -> None:
    codec = {"id": "astype", "encode_dtype": "|u1", "decode_dtype": "|u1"}
    with pytest.raises(InputError, match="compression is not one that is read\n  got: astype"):
        open_slide(with_header_2(tmp_path / "s.zarr", filters=[codec]))
