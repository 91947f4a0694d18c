"""`xaipipe run`, killed again and again while it is resumed: the same bytes in the end, and no process left behind."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from tests.reading.processes import alive, children
from tests.running.slides import dotted, write_tiled
from tests.store.runs import content
from xaipipe_store.ledger import Ledger, ledger_path

ROOT = Path(__file__).parents[2]
XAIPIPE = (sys.executable, "-c", "from xaipipe.cli.main import run_as_script; run_as_script()")
KILLS = 10
SETTINGS = ("store.image=copy", "load.tissue=off", "load.batch=1", "store.smallest_level=64")


@pytest.fixture
def run(run_file: Path, tmp_path: Path) -> tuple[str, ...]:
    """A command that works for some seconds."""
    centres = [(y, x) for y in range(20, 1000, 90) for x in range(20, 1000, 70)]
    slide = write_tiled(tmp_path / "dots.tif", dotted(1024, 1024, centres))
    settings = [part for one in SETTINGS for part in ("--set", one)]
    return (*XAIPIPE, "run", str(slide), "--config", str(run_file), "--trust", *settings)


def ended_or_killed(command: tuple[str, ...], seconds: float) -> bool:
    """Whether it ended before it was to be killed; its reading processes end in both cases."""
    with TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            started = children(process.pid)
            process.kill()
            process.wait()
            require_gone(started)
            return False
        said.seek(0)
        assert process.returncode == 0, said.read()
        return True


def require_gone(processes: set[int]) -> None:
    until = time.monotonic() + 10
    while any(map(alive, processes)):
        assert time.monotonic() < until, f"{processes} are still there"
        time.sleep(0.05)


def has_begun(output: Path) -> bool:
    """Whether there is something to go on with."""
    if not ledger_path(output).is_file():
        return False
    ledger = Ledger(ledger_path(output))
    try:
        return ledger.fact("identity") is not None
    finally:
        ledger.close()


@pytest.mark.slow
def test_a_command_killed_ten_times_ends_in_the_same_bytes(run: tuple[str, ...], tmp_path: Path) -> None:
    started = time.perf_counter()
    assert ended_or_killed((*run, "-o", str(tmp_path / "straight.zarr")), 600)
    whole = time.perf_counter() - started
    want, chance, kills, results = content(tmp_path / "straight.zarr"), random.Random(0), 0, 0
    while kills < KILLS or not results:
        output = tmp_path / f"{results}.zarr"
        resume = (*XAIPIPE, "resume", str(output), "--trust")
        command = resume if has_begun(output) else (*run, "-o", str(output))
        # where all kills are done it is left to end
        if ended_or_killed(command, 600 if kills >= KILLS else chance.uniform(0, 0.6 * whole)):
            assert content(output) == want
            results += 1
        else:
            kills += 1
    print(f"{kills} kills, {results} results, {whole:.1f} s undisturbed")
