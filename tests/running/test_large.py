"""A slide of 50,000 × 50,000 pixels takes the memory of one of 10,000 × 10,000, and keeps to its budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openslide
import pytest

from tests.running.large import write_repeated
from xaipipe import Registry
from xaipipe.slides import open_slide

ROOT = Path(__file__).parents[2]
BUDGET = 3 << 30
MEASURED_RUN = """
import json, os, sys, threading, time
from pathlib import Path
from tests.running.slides import RedFinder, tables
from xaipipe import Pipeline

def family():
    pids = {os.getpid()}
    for task in Path("/proc/self/task").iterdir():
        try:
            pids.update(map(int, (task / "children").read_text().split()))
        except OSError:
            pass
    return pids

def resident():
    total = 0
    for pid in family():
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        except OSError:
            pass
    return total

peak = 0
def watch():
    global peak
    while True:
        peak = max(peak, resident())
        time.sleep(0.05)

threading.Thread(target=watch, daemon=True).start()
settings = tables(
    load={"tile": 512, "batch": 8}, store={"shard": 2048}, run={"budget": int(sys.argv[3])},
    postprocess=[{"method": "smooth"}], segment=[{"method": "threshold"}],
)
started = time.time()
summary = Pipeline(settings, model=RedFinder()).run(sys.argv[1], sys.argv[2])
print(json.dumps({"peak": peak, "seconds": time.time() - started, "tiles": summary.tiles, "notes": summary.notes}))
"""


def measured(folder: Path, side: int) -> dict[str, float]:
    """The peak of a run's resident memory, its reader processes included."""
    slide = write_repeated(folder / f"{side}.tif", side)
    command = [sys.executable, "-c", MEASURED_RUN, str(slide), str(folder / f"{side}.zarr"), str(BUDGET)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_slides_of_these_tests_are_slides(tmp_path: Path) -> None:
    path = write_repeated(tmp_path / "s.tif", 700)
    ours = open_slide(Registry(), path)
    assert ours.mpp == pytest.approx(0.5)
    with openslide.OpenSlide(path) as theirs:
        expected = np.asarray(theirs.read_region((100, 200), 0, (500, 400)))[..., :3]
    np.testing.assert_array_equal(ours.read(0, 200, 100, 400, 500), expected)
    ours.close()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_slide(tmp_path: Path) -> None:
    small, large = measured(tmp_path, 10_000), measured(tmp_path, 50_000)
    print(f"10,000²: {small}; 50,000²: {large}")
    assert large["peak"] <= 1.1 * small["peak"]
    assert large["peak"] <= BUDGET
    assert not large["notes"]
