"""A slide in other processes: the same pixels, and a reader's misfortune is an error with its place."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.plugins.test_readers import write_pyramid
from tests.reading.conftest import PIXELS, Opened
from tests.reading.processes import gone, readers
from tests.reading.troubled import faults_of
from xaipipe import InputError, Registry, SlideLostError, UnreadableError, XaipipeError, hookimpl
from xaipipe.config import RunSettings
from xaipipe.loading import Source
from xaipipe.reading.guarded import GuardedSlide
from xaipipe.reading.opening import open_guarded
from xaipipe.reading.process import Limits
from xaipipe.slides import open_slide
from xaipipe.testing import ReaderContract

BAD = (100, 100)


class TestGuardedReader(ReaderContract):
    """What every reader promises holds through the pipe too."""

    @pytest.fixture(autouse=True)
    def with_registry(self, registry: Registry) -> Iterator[None]:
        self.registry = registry
        before = readers()
        yield
        gc.collect()
        assert readers() == before

    def open(self, path: Path):
        try:
            return open_guarded(self.registry, path, RunSettings())
        except InputError as error:
            if error.problem in ("no reader knows this file", "the file is empty"):
                return None
            raise

    def write(self, folder: Path) -> Path:
        return write_pyramid(folder / "slide.tif", compression="jpeg")

    def expected(self, path: Path) -> np.ndarray:
        with closing(open_slide(self.registry, path)) as slide:
            return slide.read(0, 0, 0, slide.levels[0].height, slide.levels[0].width)


def test_facts_are_the_readers(guarded: Opened, array: Path, troubled: Registry) -> None:
    here, there = open_slide(troubled, array), guarded()
    assert isinstance(there, GuardedSlide)
    facts = ("name", "location", "levels", "mpp", "fingerprint", "notes", "profile")
    assert [getattr(there, fact) for fact in facts] == [getattr(here, fact) for fact in facts]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("segfault", "the reader crashed (signal 11, SIGSEGV)"),
        ("hard exit", "the reader ended its process (exit code 0)"),
        ("swallow", "the reader ran out of memory (256 MiB)"),
        ("refused", "the system refused to read: No such file or directory (ENOENT)"),
        ("exit", "SystemExit: 0"),
        ("broken", "ZeroDivisionError: integer division or modulo by zero (troubled.py:"),
        ("wrong shape", "TypeError: read returned uint8 (50, 50) instead of uint8 (50, 50, 3)"),
    ],
)
def test_a_part_that_cannot_be_read_is_named_with_the_reason(guarded: Opened, fault: str, said: str) -> None:
    slide = guarded([fault, *BAD])
    for _ in range(2):
        with pytest.raises(UnreadableError) as caught:
            slide.read(0, 80, 80, 50, 50)
        text = str(caught.value)
        assert caught.value.exit_code == 65
        assert said in text
        assert f"where: {slide} level 0 y=80 x=80 h=50 w=50" in text
    np.testing.assert_array_equal(slide.read(0, 0, 0, 80, 320), PIXELS[:80])


def test_a_reader_that_hangs_is_given_up_after_its_time(guarded: Opened) -> None:
    slide = guarded(["hang", *BAD], read_timeout=1)
    started = time.monotonic()
    for _ in range(3):  # a box that was given up is not waited for again
        with pytest.raises(UnreadableError, match="the reader took longer than 1 s") as caught:
            slide.read(0, 80, 80, 50, 50)
    assert 2 <= time.monotonic() - started < 10
    assert "next: [run] read_timeout sets the limit" in str(caught.value)
    np.testing.assert_array_equal(slide.read(0, 0, 0, 80, 320), PIXELS[:80])


def test_what_a_reader_says_in_words_arrives_word_for_word(guarded: Opened) -> None:
    slide = guarded(["worded", *BAD])
    slide.read(0, 0, 0, 9, 9)
    before = readers()
    with pytest.raises(UnreadableError) as caught:
        slide.read(0, 80, 80, 50, 50)
    place = f"{slide} level 0 y=80 x=80 h=50 w=50"
    said = f"this tile is of rubber\n  got: rubber\n  expected: glass\n  where: {place}\n  next: buy glass"
    assert str(caught.value) == said
    assert readers() == before


def test_a_disk_that_refuses_once_is_asked_again(guarded: Opened) -> None:
    slide = guarded(["flaky", *BAD])
    np.testing.assert_array_equal(slide.read(0, 80, 80, 50, 50), PIXELS[80:130, 80:130])


def test_a_process_that_is_killed_is_replaced(guarded: Opened) -> None:
    slide = guarded()
    (reader,) = readers()
    os.kill(reader, signal.SIGKILL)
    np.testing.assert_array_equal(slide.read(1, 0, 0, 64, 80), PIXELS[::4, ::4])
    assert readers() != {reader}


def test_what_readers_print_goes_nowhere(guarded: Opened, capfd: pytest.CaptureFixture[str]) -> None:
    slide = guarded(["chatty", *BAD])
    np.testing.assert_array_equal(slide.read(0, 80, 80, 50, 50), PIXELS[80:130, 80:130])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("segfault", "the slide cannot be opened\n  got: the reader crashed (signal 11, SIGSEGV)"),
        ("swallow", "the slide cannot be opened\n  got: the reader ran out of memory (256 MiB)"),
        ("hang", "the slide cannot be opened\n  got: the reader took longer than 1 s"),
        ("exit", "a reader failed on this file\n  got: plugin 'troubled': SystemExit: 0"),
        ("refused", "the file cannot be read\n  got: No such file or directory"),
        ("worded", "this tile is of rubber\n  got: rubber\n  expected: glass\n  where: {path}\n  next: buy glass"),
    ],
)
def test_a_slide_that_cannot_be_opened_is_worded(guarded: Opened, array: Path, fault: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        guarded([fault], read_timeout=1 if fault == "hang" else 20)
    assert said.format(path=array) in str(caught.value)


def test_threads_share_the_readers(guarded: Opened) -> None:
    slide = guarded(["segfault", *BAD], readers=3)
    boxes = [(0, y, x, 40, 40) for y in range(0, 210, 30) for x in range(0, 280, 40)]

    def read(box: tuple[int, ...]) -> bool:
        _, y, x, h, w = box
        try:
            np.testing.assert_array_equal(slide.read(*box), PIXELS[y : y + h, x : x + w])
        except UnreadableError:
            return y <= BAD[0] < y + h and x <= BAD[1] < x + w
        return not (y <= BAD[0] < y + h and x <= BAD[1] < x + w)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, boxes))
    assert 1 <= len(readers()) <= 3


def test_a_thread_keeps_its_reader_and_starts_no_more_than_it_needs(guarded: Opened) -> None:
    slide = guarded(readers=3)
    for _ in range(5):
        slide.read(0, 0, 0, 9, 9)
    assert len(readers()) == 1


def test_a_slide_that_changes_is_not_read_on(guarded: Opened, array: Path) -> None:
    slide = guarded(["segfault", *BAD])
    np.save(array, PIXELS[::-1])
    with pytest.raises(SlideLostError, match="the slide changed while it was read"):
        slide.read(0, 80, 80, 50, 50)


def test_a_slide_that_is_gone_is_not_a_tile_that_is_bad(guarded: Opened, array: Path) -> None:
    slide = guarded(["segfault", *BAD])
    array.unlink()
    with pytest.raises(SlideLostError, match="cannot be opened any more\n  got: there is no such file"):
        slide.read(0, 80, 80, 50, 50)


def test_an_interruption_ends_reads_that_hang(guarded: Opened) -> None:
    slide = guarded(["hang", *BAD], read_timeout=100)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(slide.read, 0, 80, 80, 50, 50)
        time.sleep(0.3)
        started = time.monotonic()
        slide.interrupt()
        with pytest.raises(InputError, match="the slide is closed"):
            waiting.result(timeout=10)
    assert time.monotonic() - started < 5


def test_a_slide_that_nobody_holds_leaves_no_process(guarded: Opened, array: Path, troubled: Registry) -> None:
    slide = open_guarded(troubled, array, RunSettings())
    (reader,) = readers()
    del slide
    gc.collect()
    assert gone({reader})


def test_a_picture_that_fills_memory_is_held_once(tmp_path: Path) -> None:
    plugin = tmp_path / "holds.py"
    plugin.write_text(
        "import numpy as np, time\nfrom xaipipe import Level, Slide, hookimpl\n"
        "class Held(Slide):\n"
        "    name, location, mpp, levels, fingerprint = 'held', None, None, (Level(8, 8, 1.0),), 'f'\n"
        "    def __init__(self): self.held = np.ones(300 << 20, np.uint8)\n"
        "    def read(self, level, y, x, h, w): time.sleep(0.05); return np.zeros((h, w, 3), np.uint8)\n"
        "@hookimpl\ndef open_slide(path): return Held()\n"
    )
    (tmp_path / "a.held").write_text("x")
    slide = GuardedSlide(tmp_path / "a.held", [Source("holds", str(plugin))], Limits(4, 60, 1 << 30))
    with closing(slide), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: slide.read(0, 0, 0, 8, 8), range(8)))
        assert len(readers()) == 1


def test_readers_made_in_this_process_read_in_it(array: Path) -> None:
    registry = Registry()

    class Here:
        @hookimpl(tryfirst=True)
        def open_slide(self, path: Path):
            return open_slide(Registry(files=[Path(__file__).with_name("troubled.py")]), path)

    registry.hooks.register(Here(), name="here")
    assert registry.sources("open_slide") is None
    assert not isinstance(open_guarded(registry, array, RunSettings()), GuardedSlide)


def test_isolation_can_be_turned_off(array: Path, troubled: Registry) -> None:
    assert not isinstance(open_guarded(troubled, array, RunSettings(isolate=False)), GuardedSlide)


def test_a_plugin_that_is_gone_from_the_disk_cannot_be_loaded_again(tmp_path: Path, array: Path) -> None:
    with pytest.raises(XaipipeError, match="a reader process cannot be started") as caught:
        GuardedSlide(array, [Source("missing", str(tmp_path / "missing.py"))], Limits(1, 60, 1 << 28))
    assert "No such file" in str(caught.value)
    assert "isolate = false" in str(caught.value)


@pytest.mark.parametrize(
    "levels", [[], [[0, 5, 1.0]], [[1 << 30, 1 << 30, 1.0]], [[5, 5, float("nan")]], [[9, 9, 1.0]] * 99]
)
def test_a_reader_that_claims_the_impossible_is_refused(tmp_path: Path, levels: list) -> None:
    plugin = tmp_path / "claims.py"
    plugin.write_text(
        "import json\nfrom xaipipe import Level, Slide, hookimpl\n"
        "class Claims(Slide):\n"
        "    name, location, mpp, fingerprint = 'claims', None, None, 'f'\n"
        "    def __init__(self, path): self.levels = [Level(*one) for one in json.loads(path.read_text())]\n"
        "    def read(self, *box): raise NotImplementedError\n"
        "@hookimpl\ndef open_slide(path): return Claims(path)\n"
    )
    (tmp_path / "a.claims").write_text(json.dumps(levels))
    before = readers()
    with pytest.raises(InputError, match=r"impossible size|do not go from fine to coarse"):
        GuardedSlide(tmp_path / "a.claims", [Source("claims", str(plugin))], Limits(1, 60, 1 << 28))
    assert readers() == before


def test_faults_are_only_where_they_are_asked_for(guarded: Opened, array: Path) -> None:
    """The tests above mean something only if the reader is sound without faults."""
    slide = guarded()
    assert json.loads(faults_of(array).read_text()) == []
    np.testing.assert_array_equal(slide.read(0, 0, 0, 256, 320), PIXELS)
    assert threading.active_count() < 20
