"""Thousands of damaged and hostile files: each is read, refused in words or left out, and the program stays small.

`XAIPIPE_FUZZ` sets how many files the slow test makes.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.corpus import hostile, sound
from tests.fuzz.mutations import mutated
from tests.reading.processes import readers, shared_memory
from tests.running.slides import RedFinder, tables
from xaipipe import InputError, Pipeline, Registry, Slide, SlideLostError, UnreadableError
from xaipipe.config import RunSettings
from xaipipe.reading.guarded import ATTEMPTS
from xaipipe.reading.opening import open_guarded

SETTINGS = RunSettings(readers=1, read_timeout=10, reader_memory=512)
FEW, MANY, RUNS = 30, int(os.environ.get("XAIPIPE_FUZZ", "2000")), 60
LARGEST_BOX = 600
MOST_GROWTH = 100 << 20
"""Bytes that the program may grow by while it reads hundreds of files."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return sound(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return hostile(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(autouse=True)
def nothing_is_left_and_memory_stays_small() -> Iterator[None]:
    before, shared = readers(), shared_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    resident = peak_memory()
    yield
    assert peak_memory() - resident < MOST_GROWTH
    assert readers() == before
    assert shared_memory() == shared


def peak_memory() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def boxes_of(slide: Slide) -> Iterator[tuple[int, int, int, int, int]]:
    """The first and the last box of some levels."""
    for number, level in list(enumerate(slide.levels))[:3]:
        h, w = min(level.height, LARGEST_BOX), min(level.width, LARGEST_BOX)
        yield number, 0, 0, h, w
        yield number, level.height - h, level.width - w, h, w


def outcome(registry: Registry, path: Path) -> str:
    """What became of a file; anything but these is an error of the program."""
    started = time.monotonic()
    reads = 0
    try:
        with closing(open_guarded(registry, path, SETTINGS)) as slide:
            results = set()
            for box in boxes_of(slide):
                reads += 1
                results.add(read(slide, box))
    except SlideLostError:
        raise
    except InputError as error:
        results = {"refused: " + named(error)}
    assert time.monotonic() - started < (1 + reads) * ATTEMPTS * SETTINGS.read_timeout + 5
    return max(results)


def read(slide: Slide, box: tuple[int, int, int, int, int]) -> str:
    try:
        pixels = slide.read(*box)
    except UnreadableError as error:
        return "unreadable: " + named(error)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (*box[3:], 3))
    return "read"


def named(error: InputError) -> str:
    """An error by what it says, or by what became of its process; it has to say where, too."""
    assert error.problem
    assert error.facts["where"] is not None
    got = str(error.facts["got"])
    return got if got.startswith("the reader ") else error.problem


def fuzz(registry: Registry, files: dict[str, bytes], folder: Path, seed: int, count: int) -> Counter[str]:
    names = sorted(files)

    def one(number: int) -> str:
        chance = np.random.default_rng([seed, number])
        name = names[number % len(names)]
        path = folder / f"{number}-{name}"
        path.write_bytes(mutated(files[name], chance))
        found = outcome(registry, path)
        path.unlink()
        return found

    with ThreadPoolExecutor(2) as pool:
        return Counter(pool.map(one, range(count)))


def test_sound_files_are_read(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    """Otherwise nothing would be learned from damaged ones."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(files, pool.map(lambda name: outcome(registry, tmp_path / name), files), strict=True))
    assert found == dict.fromkeys(files, "read")


EXPECTED = {
    "bomb-deflate.tif": "read",
    "bomb-zstd.tif": "read",
    "bomb.png": "refused",
    "circle.tif": "refused: the TIFF's directories run in a circle",
    "many.tif": "read",
    "promise-16.png": "refused",
    "promise.bmp": "refused: the BMP's header does not fit the file",
    "promise.jpg": "refused",
    "promise.png": "refused",
}


def test_hostile_files_are_refused_or_left_out(registry: Registry, bombs: dict[str, bytes], tmp_path: Path) -> None:
    assert max(map(len, bombs.values())) < 8 << 20
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(bombs, pool.map(lambda name: outcome(registry, tmp_path / name), bombs), strict=True))
    assert {name: result for name, result in found.items() if not result.startswith(EXPECTED[name])} == {}


def test_damaged_files_do_no_harm(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    found = fuzz(registry, files, tmp_path, seed=1, count=FEW)
    assert sum(found.values()) == FEW
    assert len(found) > 5


@pytest.mark.slow
def test_thousands_of_damaged_files_do_no_harm(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    started = time.monotonic()
    found = fuzz(registry, files, tmp_path, seed=2, count=MANY)
    print(f"\n{MANY} files in {time.monotonic() - started:.0f} s")
    for result, count in found.most_common():
        print(f"{count:6d}  {result}")
    assert sum(found.values()) == MANY


@pytest.mark.slow
def test_damaged_slides_run_or_are_refused(registry: Registry, files: dict[str, bytes], tmp_path: Path) -> None:
    """The whole way: what opens gives a result with holes at most."""
    slides = {name: content for name, content in files.items() if name.endswith((".tif", ".svs"))}
    names = sorted(slides)
    found: Counter[str] = Counter()
    settings = tables(run=SETTINGS.model_dump())
    for number in range(RUNS):
        name = names[number % len(names)]
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(mutated(slides[name], np.random.default_rng([3, number])))
        try:
            summary = Pipeline(settings, model=RedFinder(), registry=registry).run(path, tmp_path / f"{number}.zarr")
            found["with holes" if summary.unreadable else "whole"] += 1
        except InputError as error:
            found[error.problem] += 1
    print(found)
    assert found["with holes"] > 0
    assert found["whole"] > 0
