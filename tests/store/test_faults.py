"""What a dead machine, a full disk or a flipped bit can do: nothing is lost, and nothing is silently wrong."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.store.runs import content, pipeline, write_slide
from xaipipe import LockedError, StorageError, UsageError
from xaipipe_store import durable
from xaipipe_store.ledger import Ledger, ledger_path
from xaipipe_store.verify import all_damage

ROOT = Path(__file__).parents[2]
FAST_KILLS = [0, 3, 20, 47, 90, 150, 220, 260, 290]
EVENTS_AT_MOST = 500
"""More than a run has."""
MANY_FLIPS = 1000


def kill_runs(slide: Path, folder: Path, events: Iterable[int]) -> list[int]:
    """Run once for every event, into FOLDER/EVENT.zarr; the events at which a run was killed before it ended."""
    arguments = [sys.executable, "-m", "tests.store.killed_run", slide, folder, *events]
    done = subprocess.run([str(one) for one in arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return [int(event) for event in done.stdout.split()]


def go_on(slide: Path, output: Path) -> None:
    """Resume, or start anew where the run died before there was anything to go on with."""
    begun = ledger_path(output).is_file()
    pipeline(run={"isolate": False}).run(slide, output, resume=begun)


def killed_and_resumed(slide: Path, straight: Path, folder: Path, events: Iterable[int]) -> list[int]:
    """The events at which a run was killed; each went on to the bytes of an undisturbed one."""
    want, killed = content(straight), kill_runs(slide, folder, events)
    for event in killed:
        output = folder / f"{event}.zarr"
        go_on(slide, output)
        assert content(output) == want, f"killed at event {event}"
        shutil.rmtree(output)
    return killed


def test_a_killed_run_ends_in_the_same_bytes(slide: Path, straight: Path, tmp_path: Path) -> None:
    assert killed_and_resumed(slide, straight, tmp_path, FAST_KILLS) == FAST_KILLS


@pytest.mark.slow
def test_a_kill_before_every_event(slide: Path, straight: Path, tmp_path: Path) -> None:
    """Before and after every sync, rename and row of the ledger, from the first to the last."""
    killed = killed_and_resumed(slide, straight, tmp_path, range(EVENTS_AT_MOST))
    assert killed == list(range(len(killed)))
    assert FAST_KILLS[-1] < len(killed) < EVENTS_AT_MOST


class Stopped(BaseException):
    """Stands for the end of the process, where many ends are tried."""


def events(monkeypatch: pytest.MonkeyPatch, stop_at: int | None, error: type[BaseException] | OSError) -> Iterator[int]:
    """Count the durable writes; stop before one of them."""
    count = iter(range(10**6))
    original = durable.write_durably

    def counted(path: Path, data: object) -> durable.Written:
        if next(count) == stop_at:
            raise error
        return original(path, data)

    monkeypatch.setattr(durable, "write_durably", counted)
    return count


@pytest.mark.parametrize("at", range(0, 50, 4))
def test_a_full_disk_is_worded_and_the_run_goes_on_after_it(
    slide: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    output = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        events(patch, at, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        with pytest.raises(StorageError, match="cannot be written") as caught:
            pipeline().run(slide, output)
    assert caught.value.exit_code == 74
    assert "No space left" in str(caught.value)
    go_on(slide, output)
    assert content(output) == content(straight)


def test_only_what_is_missing_is_computed_again(
    slide: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        events(patch, 35, Stopped())
        with pytest.raises(Stopped):
            pipeline().run(slide, output)
    ledger = Ledger(ledger_path(output))
    committed = len(ledger.receipts())
    ledger.close()
    summary = pipeline().run(slide, output, resume=True)
    ledger = Ledger(ledger_path(output))
    assert 0 < committed < len(ledger.receipts())
    assert len(summary.redone) == len(ledger.receipts()) - committed
    ledger.close()


def test_a_damaged_shard_is_named_and_computed_again_alone(slide: Path, straight: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.zarr"
    pipeline().run(slide, output)
    shard = output / "heatmap" / "0" / "c" / "0" / "1" / "0"
    data = bytearray(shard.read_bytes())
    data[10] ^= 4
    shard.write_bytes(data)
    summary = pipeline().run(slide, output, resume=True)
    assert [(one.array, one.region.row, one.reason) for one in summary.redone] == [
        ("heatmap", 1, "its shard's content changed (sha256)")
    ]
    assert content(output) == content(straight)


def flip(output: Path, chance: random.Random) -> tuple[Path, int, int]:
    """One bit of the whole result, every bit as likely."""
    files = [path for path in sorted(output.rglob("*")) if path.is_file()]
    path = chance.choices(files, [file.stat().st_size for file in files])[0]
    data = bytearray(path.read_bytes())
    position, bit = chance.randrange(len(data)), 1 << chance.randrange(8)
    data[position] ^= bit
    path.write_bytes(data)
    return path, position, bit


def silent_flips(output: Path, count: int) -> list[tuple[Path, int, int]]:
    chance = random.Random(1)
    ledger = Ledger(ledger_path(output))
    silent = []
    for _ in range(count):
        path, position, bit = flip(output, chance)
        if str(path.relative_to(output)) not in {damage.path for damage in all_damage(output, ledger)}:
            silent.append((path, position, bit))
        data = bytearray(path.read_bytes())
        data[position] ^= bit
        path.write_bytes(data)
    ledger.close()
    return silent


def test_no_flipped_bit_is_silent(slide: Path, tmp_path: Path) -> None:
    pipeline().run(slide, tmp_path / "out.zarr")
    assert silent_flips(tmp_path / "out.zarr", 60) == []


@pytest.mark.slow
def test_no_flipped_bit_of_a_thousand_is_silent(slide: Path, tmp_path: Path) -> None:
    pipeline().run(slide, tmp_path / "out.zarr")
    assert silent_flips(tmp_path / "out.zarr", MANY_FLIPS) == []


def test_a_second_run_on_one_output_is_refused_and_told_who_holds_it(slide: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.zarr"
    with pipeline().claimed(output), pytest.raises(LockedError) as caught, pipeline().claimed(output):
        pass
    assert caught.value.exit_code == 75
    assert f"process {os.getpid()}" in str(caught.value)
    pipeline().run(slide, output)


def test_a_dead_runs_lock_does_not_hold(slide: Path, tmp_path: Path) -> None:
    (tmp_path / "out.zarr.lock").write_text("process 1 on elsewhere")
    pipeline().run(slide, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr.lock").exists()


@pytest.mark.parametrize("name", ["out.zarr.lock", "out.zarr.ledger"])
def test_somebody_elses_files_beside_the_output_are_left_alone(slide: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("somebody's notes")
    with pytest.raises(UsageError, match="somebody else's file stands where"):
        pipeline().run(slide, tmp_path / "out.zarr")
    assert (tmp_path / name).read_text() == "somebody's notes"


def test_settings_that_changed_are_refused_by_name(slide: Path, tmp_path: Path) -> None:
    pipeline().run(slide, tmp_path / "out.zarr")
    with pytest.raises(UsageError, match="begun under another plan") as caught:
        pipeline(explain={"signed": True}).run(slide, tmp_path / "out.zarr", resume=True)
    assert "settings.explain.signed was None, is True" in str(caught.value)


def test_a_slide_that_was_replaced_is_refused(tmp_path: Path) -> None:
    slide = write_slide(tmp_path)
    pipeline().run(slide, tmp_path / "out.zarr")
    data = bytearray(slide.read_bytes())
    data[-1] ^= 1
    slide.write_bytes(data)
    with pytest.raises(UsageError, match=r"slide\.fingerprint was"):
        pipeline().run(slide, tmp_path / "out.zarr", resume=True)


def test_there_has_to_be_a_run_to_go_on_with(slide: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run to go on with"):
        pipeline().run(slide, tmp_path / "out.zarr", resume=True)
    assert not list(tmp_path.iterdir())


def test_a_ledger_that_cannot_be_closed_does_not_keep_the_output_locked(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(ledger: Ledger) -> None:
        raise StorageError("the ledger cannot be used")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "close", full)
        with pytest.raises(StorageError):
            pipeline().run(slide, tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr.lock").exists()
    pipeline().run(slide, tmp_path / "out.zarr", resume=True)
