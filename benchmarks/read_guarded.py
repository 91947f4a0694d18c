"""Reading tiles through processes of their own beside reading in this one, pixels asserted equal before timing.

    python benchmarks/read_guarded.py [--slide FILE.svs] [--readers N] [--out FILE.md]

Without --slide a slide is generated. As many threads as there are readers take batches of eight tiles in raster order,
as a run does.
Columns: tiles per second of wall clock; seconds of processor time of all processes, and of this one, per 1000 tiles.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _timing import machine

from xaipipe import Registry, Slide
from xaipipe.config import RunSettings
from xaipipe.reading.opening import open_guarded
from xaipipe_demo.scene import Scene
from xaipipe_demo.tiff import write_slide

REPEATS, BATCH = 5, 8
Box = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Cost:
    """Of reading all tiles once."""

    wall: float
    own: float
    others: float


def tiles_of(slide: Slide, side: int) -> list[Box]:
    level = slide.levels[0]
    return [
        (0, y, x, side, side)
        for y in range(0, level.height - side + 1, side)
        for x in range(0, level.width - side + 1, side)
    ]


def cost(make: Callable[[], Slide], tiles: list[Box], readers: int) -> Cost:
    """With readers that are ready; they are ended inside, so that their processor time is counted, start included."""
    before = os.times()
    slide = make()
    batches = [tiles[start : start + BATCH] for start in range(0, len(tiles), BATCH)]
    together = threading.Barrier(readers)

    def start(_: int) -> None:
        together.wait()
        slide.read(0, 0, 0, 8, 8)

    with ThreadPoolExecutor(readers) as pool:
        list(pool.map(start, range(readers)))
        middle, started = os.times(), time.perf_counter()
        for _ in pool.map(lambda batch: sum(slide.read(*tile).nbytes for tile in batch), batches):
            pass
        wall = time.perf_counter() - started
    own = os.times()
    slide.close()
    after = os.times()
    others = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, own.user + own.system - middle.user - middle.system, others)


def measure(path: Path, side: int, readers: int) -> list[str]:
    registry = Registry()
    kinds = {
        "in this process": lambda: open_guarded(registry, path, RunSettings(readers=readers, isolate=False)),
        "**guarded**": lambda: open_guarded(registry, path, RunSettings(readers=readers)),
    }
    here, there = (make() for make in kinds.values())
    with closing(here), closing(there):
        tiles = tiles_of(here, side)
        for tile in tiles[::7]:
            np.testing.assert_array_equal(there.read(*tile), here.read(*tile))
    costs: dict[str, list[Cost]] = {name: [] for name in kinds}
    for _ in range(REPEATS):
        for name, make in kinds.items():
            costs[name].append(cost(make, tiles, readers))
    rates = {name: statistics.median(len(tiles) / one.wall for one in found) for name, found in costs.items()}
    base, thousands = rates["in this process"], len(tiles) / 1000
    lines = []
    for name, found in costs.items():
        own = statistics.median(one.own for one in found) / thousands
        everything = statistics.median(one.own + one.others for one in found) / thousands
        lines.append(
            f"| {path.name} | {side}² | {len(tiles)} | {name} | {rates[name]:.0f} | {rates[name] / base:.2f} "
            f"| {everything:.2f} | {own:.2f} | bitwise |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", type=Path, action="append", default=[])
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = arguments.slide or [write_slide(Scene(seed=0, height=8192, width=8192), Path(folder) / "generated.svs")]
        lines = [line for path in paths for side in (256, 560) for line in measure(path, side, arguments.readers)]
    text = "\n".join(
        [
            f"# Reading through {arguments.readers} processes",
            "",
            f"{datetime.date.today().isoformat()}. {machine('cpu')}.",
            "Processor time of the guarded rows holds the start of the processes.",
            "",
            "| slide | tile | tiles | reader | tiles/s | in this process = 1 | CPU s per 1000 | of it here | pixels |",
            "|---|---|---:|---|---:|---:|---:|---:|---|",
            *lines,
        ]
    )
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
