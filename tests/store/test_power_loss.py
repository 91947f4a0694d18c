"""The power goes: whatever the ledger calls committed is there, and the run goes on to the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from tests.store.power import Moment, recording
from tests.store.runs import content, pipeline
from xaipipe_store import durable
from xaipipe_store.ledger import Ledger, ledger_path
from xaipipe_store.verify import COMPLETE, all_damage, damage_of

OUTPUT = "out.zarr"
FEW = 10
MANY = int(os.environ.get("XAIPIPE_FAULTS", "300"))


@pytest.fixture(scope="module")
def whole(straight: Path) -> dict[str, bytes]:
    """Every file of the undisturbed result."""
    return content(straight)


class Stopped(BaseException):
    """Stands for the end of the process; the machine lives on."""


def lost(output: Path) -> list[str]:
    """What the ledger calls committed, and is not there."""
    if not ledger_path(output).is_file():
        return []
    ledger = Ledger(ledger_path(output))
    try:
        if (output / COMPLETE).is_file() and ledger.fact("created"):
            return [f"{damage.path}: {damage.reason}" for damage in all_damage(output, ledger)]
        receipts = [(receipt.path, damage_of(output, receipt)) for receipt in ledger.receipts()]
        return [f"{path}: {reason}" for path, reason in receipts if reason is not None]
    finally:
        ledger.close()


def go_on(slide: Path, output: Path) -> None:
    begun = ledger_path(output).is_file()
    pipeline(run={"isolate": False}).run(slide, output, resume=begun)


def survives(moment: Moment, folder: Path, slide: Path, whole: dict[str, bytes], seed: int | None) -> None:
    """Nothing committed is lost, and the run goes on to its end. `seed` decides on what was not synced."""
    output = moment.restore(folder, OUTPUT, None if seed is None else random.Random(seed))
    assert lost(output) == []
    if (output / COMPLETE).is_file():
        assert content(output) == whole
    go_on(slide, output)
    assert content(output) == whole
    shutil.rmtree(folder)


def some(moments: list[Moment], count: int) -> list[tuple[int, Moment, int | None]]:
    """Moments all over the run, by turns with everything lost that was not synced, and with some of it."""
    chosen = [round(i * (len(moments) - 1) / max(count - 1, 1)) for i in range(count)]
    return [(number, moments[event], None if number % 2 == 0 else number) for number, event in enumerate(chosen)]


def moments_of_a_run(slide: Path, folder: Path) -> list[Moment]:
    folder.mkdir()
    with recording(folder, OUTPUT) as recorder:
        pipeline().run(slide, folder / OUTPUT)
        return [*recorder.moments, recorder.moment()]


def moments_after_a_kill(slide: Path, folder: Path, stop_at: int) -> list[Moment]:
    """Of the run that goes on after another died, on a machine that did not."""

    def stop(event: int) -> bool:
        if event == stop_at:
            raise Stopped
        return False

    folder.mkdir()
    with recording(folder, OUTPUT) as recorder:
        recorder.wanted = stop
        with pytest.raises(Stopped):
            pipeline().run(slide, folder / OUTPUT)
        recorder.wanted = lambda event: True
        go_on(slide, folder / OUTPUT)
        return [*recorder.moments, recorder.moment()]


def test_power_loss(slide: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    for number, moment, seed in some(moments_of_a_run(slide, tmp_path / "run"), FEW):
        survives(moment, tmp_path / str(number), slide, whole, seed)


def test_power_loss_after_a_kill(slide: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """What the killed run had made and not synced is relied on only when it is."""
    for number, moment, seed in some(moments_after_a_kill(slide, tmp_path / "run", 150), FEW // 2):
        survives(moment, tmp_path / str(number), slide, whole, seed)


@pytest.mark.slow
def test_power_loss_at_many_moments(slide: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    for number, moment, seed in some(moments_of_a_run(slide, tmp_path / "run"), MANY):
        survives(moment, tmp_path / str(number), slide, whole, seed)


@pytest.mark.slow
def test_power_loss_after_many_kills(slide: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    chance = random.Random(0)
    for kill in range(max(MANY // 20, 1)):
        moments = moments_after_a_kill(slide, tmp_path / f"run{kill}", chance.randrange(30, 450))
        for number, moment, _ in some(moments, 10):
            survives(moment, tmp_path / str(number), slide, whole, chance.choice((None, kill * 10 + number)))


def test_a_folder_is_relied_on_only_once_its_name_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads write into one new folder: the second finds it there, and has to wait for the first one's sync."""
    sync, made, may_sync = durable.sync, threading.Event(), threading.Event()
    order: list[str] = []

    def slow_sync(folder: Path) -> None:
        if folder == tmp_path:
            made.set()
            may_sync.wait()
            order.append("synced")
        sync(folder)

    monkeypatch.setattr(durable, "sync", slow_sync)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(durable.write_durably, tmp_path / "new" / "first", b"1")
        made.wait()
        second = pool.submit(durable.write_durably, tmp_path / "new" / "second", b"2")
        second.add_done_callback(lambda _: order.append("second"))
        wait([second], timeout=0.3)
        may_sync.set()
        first.result()
    assert order == ["synced", "second"]


@pytest.mark.parametrize("left", [b"", b"proc", bytes(30), b"process 1 on elsewhere"])
def test_what_a_power_loss_leaves_of_a_lock_does_not_hold(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "out.zarr.lock").write_bytes(left)
    with pipeline().claimed(tmp_path / OUTPUT):
        pass
    assert not (tmp_path / "out.zarr.lock").exists()
