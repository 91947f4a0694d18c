"""Tiles that cannot be read: left out, listed, tried again; and nothing else of the result is any different."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.reading.conftest import TROUBLED
from tests.reading.processes import readers, shared_memory
from tests.reading.troubled import faults_of
from tests.running.slides import RedFinder, dotted, tables
from tests.store.runs import CENTRES, CHAIN, content
from xaipipe import InputError, Pipeline, Registry, SlideLostError, Summary
from xaipipe_store import durable
from xaipipe_store.ledger import Ledger, ledger_path
from xaipipe_store.verify import all_damage

HEIGHT, WIDTH, TILE, CELL = 240, 200, 64, 4
READING = {"read_timeout": 20, "reader_memory": 256}
Run = Callable[..., Summary]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry(files=[TROUBLED])


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "slide.npy"
    np.save(path, dotted(HEIGHT, WIDTH, CENTRES))
    return path


@pytest.fixture
def run(slide: Path, tmp_path: Path, registry: Registry) -> Iterator[Run]:
    """Run on the slide with faults; afterwards no process and no shared memory may be left."""
    before, shared = readers(), shared_memory()

    def go(*faults: tuple, resume: bool = False, output: Path = tmp_path / "out.zarr", **changes: object) -> Summary:
        faults_of(slide).write_text(json.dumps(faults))
        reading = {**READING, **changes.pop("run", {})}
        pipeline = Pipeline(tables(**{**CHAIN, **changes}, run=reading), model=RedFinder(), registry=registry)
        return pipeline.run(slide, output, resume=resume)

    yield go
    faults_of(slide).unlink(missing_ok=True)
    assert readers() == before
    assert shared_memory() == shared


@pytest.fixture(scope="module")
def straight(slide: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("straight") / "out.zarr"
    Pipeline(tables(**CHAIN, run=READING), model=RedFinder(), registry=registry).run(slide, output)
    return output


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.zarr"


def cells_of(y: int, x: int) -> tuple[slice, slice]:
    """The map's cells of the tile that holds a pixel."""
    n = TILE // CELL
    return np.s_[y // TILE * n : (y // TILE + 1) * n, x // TILE * n : (x // TILE + 1) * n]


def expect_holes(output: Path, straight: Path, *places: tuple[int, int]) -> None:
    """NaN where the tiles at these pixels lie, and bit for bit the undisturbed map everywhere else."""
    got, want = (zarr.open_array(folder / "raw" / "0", mode="r")[0] for folder in (output, straight))
    status = zarr.open_array(output / "heatmap" / "labels" / "status" / "0", mode="r")[:]
    expected = np.ones_like(status)
    want = want.copy()
    for place in places:
        want[cells_of(*place)] = np.nan
        expected[cells_of(*place)] = 2
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(status, expected)


def listed(output: Path) -> list[dict[str, str]]:
    with (output / "unreadable.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("segfault", "a part of the slide cannot be read: the reader crashed (signal 11, SIGSEGV)"),
        ("swallow", "a part of the slide cannot be read: the reader ran out of memory (256 MiB)"),
        ("worded", "this tile is of rubber: rubber"),
    ],
)
def test_a_tile_that_cannot_be_read_is_left_out_alone_and_read_when_it_can_be(
    run: Run, out: Path, straight: Path, fault: str, reason: str
) -> None:
    without_copy = {"store": {"image": "reference"}}
    place = (150, 70)  # in the middle of a batch
    summary = run((fault, *place), **without_copy)
    assert [(one.array, one.y, one.x, one.reason) for one in summary.unreadable] == [("raw", 128, 64, reason)]
    expect_holes(out, straight, place)
    (row,) = listed(out)
    assert row == {
        "array": "raw", "level": "0", "y": "128", "x": "64", "height": "64", "width": "64", "reason": reason
    }  # fmt: skip
    assert zarr.open_group(out, mode="r").attrs["xaipipe"]["tiles"]["unreadable"] == 1

    again = run((fault, *place), resume=True, **without_copy)
    assert len(again.unreadable) == 1
    assert "1 of its tiles could not be read" in {one.reason for one in again.redone}
    healed = run(resume=True, **without_copy)
    assert healed.unreadable == ()
    assert [one.region.row for one in healed.redone if one.array == "raw"] == [1]
    run(output=out.with_name("never.zarr"), **without_copy)
    assert content(out) == content(out.with_name("never.zarr"))


def test_a_disk_that_refuses_once_leaves_no_trace(run: Run, out: Path, straight: Path) -> None:
    assert run(("flaky", 150, 70)).unreadable == ()
    assert content(out) == content(straight)


def test_a_reader_that_talks_leaves_no_trace(
    run: Run, out: Path, straight: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(("chatty", 150, 70))
    assert capfd.readouterr() == ("", "")
    assert content(out) == content(straight)


def test_reading_in_this_process_gives_the_same_bytes_and_leaves_out_the_same(
    run: Run, out: Path, straight: Path
) -> None:
    run(run={"isolate": False})
    assert content(out) == content(straight)
    holes = out.with_name("holes.zarr")
    run(("worded", 150, 70), run={"isolate": False}, output=holes, store={"image": "reference"})
    expect_holes(holes, straight, (150, 70))


def test_whole_batches_and_the_first_tiles_may_be_unreadable(run: Run, out: Path, straight: Path) -> None:
    """The plan is then made from other tiles."""
    bad = [(y, x) for y in (10, 70) for x in (10, 70)]
    summary = run(*(("segfault", *place) for place in bad), store={"image": "reference"})
    assert len(summary.unreadable) == 4
    expect_holes(out, straight, *bad)


def test_a_slide_that_is_unreadable_everywhere_is_refused(run: Run, out: Path) -> None:
    everywhere = [("worded", y, x) for y in range(0, HEIGHT, TILE) for x in range(0, WIDTH, TILE)]
    with pytest.raises(InputError, match="the slide cannot be read") as caught:
        run(*everywhere)
    assert "7 of 16 tiles were tried" in str(caught.value)
    assert "this tile is of rubber" in str(caught.value)
    assert not out.exists()


def test_more_unreadable_tiles_than_allowed_end_the_run_and_nothing_is_lost(
    run: Run, out: Path, straight: Path
) -> None:
    bad = [("worded", 150, 70), ("worded", 230, 190)]
    with pytest.raises(InputError, match="more of the slide is unreadable than is allowed") as caught:
        run(*bad, store={"image": "reference"}, run={"max_bad_tiles": 1})
    assert "at most 1 (max_bad_tiles)" in str(caught.value)
    ledger = Ledger(ledger_path(out))
    kept = len(ledger.receipts())
    ledger.close()
    assert kept > 0
    summary = run(*bad, store={"image": "reference"}, run={"max_bad_tiles": 2}, resume=True)
    assert len(summary.unreadable) == 2
    expect_holes(out, straight, (150, 70), (230, 190))


def test_a_copied_image_is_white_where_it_is_unreadable(run: Run, out: Path, straight: Path) -> None:
    summary = run(("worded", 150, 70))
    assert {one.array for one in summary.unreadable} == {
        "raw",
        "image/0",
        "image/2",
    }  # of a level that was missing, image/1 is made
    copied = zarr.open_array(out / "image" / "0", mode="r")[:]
    assert (copied == 255).all()  # one piece of 256 pixels holds the whole slide
    run(resume=True)
    assert content(out) == content(straight)


def test_where_tissue_cannot_be_seen_tiles_are_explained(slide: Path, registry: Registry, run: Run, out: Path) -> None:
    """In the picture in which tissue is looked for, made of every fourth pixel, a piece is white and unreadable."""
    path = out.with_name("plain.npy")
    pixels = np.full((HEIGHT * 10, WIDTH * 10, 3), 245, np.uint8)
    pixels[:100, :100] = (200, 90, 160)
    np.save(path, pixels)
    settings = tables(load={"tissue": "on"}, run=READING)
    plans = []
    for faults in ([], [["segfault", 1300, 1300]]):
        faults_of(path).write_text(json.dumps(faults))
        prepared = Pipeline(settings, model=RedFinder(), registry=registry).prepare(path)
        plans.append(prepared.plan)
        prepared.plan.tiling.slide.close()
    sound, doubtful = plans
    assert (sound.unjudged, doubtful.unjudged) == (0, 16 * 16)  # tiles in the piece at 1024, 1024
    assert doubtful.tiles == sound.tiles + doubtful.unjudged


def test_a_slide_that_vanishes_ends_the_run_instead_of_emptying_it(run: Run, slide: Path) -> None:
    data = slide.read_bytes()
    try:
        with pytest.raises(SlideLostError, match="cannot be opened any more"):
            run(("vanished", 10, 150), ("segfault", 230, 190), store={"image": "reference"}, run={"readers": 1})
    finally:
        slide.write_bytes(data)


class Stopped(BaseException):
    """Stands for the end of the process."""


def stop_at(monkeypatch: pytest.MonkeyPatch, event: int) -> None:
    """Before one of the writes that make a commit durable, counted over files and rows."""
    count = iter(range(10**6))

    def wrap(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def counted(*arguments: object) -> object:
            if next(count) == event:
                raise Stopped
            return original(*arguments)

        monkeypatch.setattr(owner, name, counted)

    wrap(durable, "write_durably")
    for name in ("_run", "note_unreadable"):
        wrap(Ledger, name)


@pytest.mark.parametrize(
    "event", [pytest.param(event, marks=[] if event % 12 == 0 else pytest.mark.slow) for event in range(60)]
)
def test_a_run_killed_while_holes_are_filled_ends_in_the_same_bytes(
    run: Run, out: Path, straight: Path, monkeypatch: pytest.MonkeyPatch, event: int
) -> None:
    bad = [("worded", 150, 70), ("worded", 230, 190)]
    run(*bad, run={"isolate": False})
    with monkeypatch.context() as patch:
        stop_at(patch, event)
        with pytest.raises(Stopped):
            run(resume=True, run={"isolate": False})
    run(resume=True, run={"isolate": False})
    assert content(out) == content(straight)
    ledger = Ledger(ledger_path(out))
    assert (ledger.unreadable(), all_damage(out, ledger)) == ((), [])
    ledger.close()


def test_the_command_line_ends_with_3_and_says_what_is_missing(
    cli: Callable, run_file: Path, slide: Path, tmp_path: Path
) -> None:
    faults_of(slide).write_text(json.dumps([["segfault", 150, 70]]))
    command = ("--plugin", TROUBLED, "run", slide, "--config", run_file, "--trust", "--set", "load.tissue=off")
    answer = cli(*command, "-o", "out.zarr")
    assert answer.code == 3
    reason = "a part of the slide cannot be read: the reader crashed (signal 11, SIGSEGV)"
    assert f"unreadable  tiles: 1; {reason} (1)" in answer.out
    assert "xaipipe resume" in answer.out
    refused = cli(*command, "-o", "other.zarr", "--max-bad-tiles", 0)
    assert refused.code == 65
    assert (
        "error: more of the slide is unreadable than is allowed\n  got: tiles and pieces of the image: 1;"
        in refused.err
    )
    assert cli("--plugin", TROUBLED, "resume", "other.zarr", "--trust", "--max-bad-tiles", 5).code == 3
    faults_of(slide).unlink()
    healed = cli("--plugin", TROUBLED, "resume", "out.zarr", "--trust")
    assert healed.code == 0
    assert "1 of its tiles could not be read" in healed.err
    facts = json.loads(cli("--json", *command, "-o", "third.zarr").out)
    assert facts["unreadable"] == []
    assert content(tmp_path / "out.zarr") == content(tmp_path / "third.zarr")
    assert not readers()
