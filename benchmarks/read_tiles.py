"""Reading 256 × 256 tiles of a slide: our native reader beside openslide, pixels asserted equal before timing.

    python benchmarks/read_tiles.py [--slide FILE.svs] [--out FILE.md]

Slides are generated: JPEG, read along its own tiles and across them, and JPEG 2000 in both of Aperio's layouts; --slide
adds others. Tiles are read in raster order by one thread; the figure is tiles per second of processor time, which
other programs on the machine disturb least. Every slide says how many bytes a compressed tile has: JPEG 2000 decodes
with the same library on both sides, and the more there is to decode, the nearer both come to it.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import openslide
import tifffile
from _jpeg2000 import RGB, YCBCR, write_jpeg_2000
from _timing import machine

from xaipipe_demo.scene import Scene
from xaipipe_demo.tiff import write_slide
from xaipipe_readers.tiled_tiff import open_tiled_tiff

SIDE = 256
REPEATS = 7
Read = Callable[[int, int], np.ndarray]


def native(path: Path) -> Read:
    slide = open_tiled_tiff(path)
    assert slide is not None
    return lambda y, x: slide.read(0, y, x, SIDE, SIDE)


def peer(path: Path) -> Read:
    slide = openslide.OpenSlide(path)
    return lambda y, x: np.asarray(slide.read_region((x, y), 0, (SIDE, SIDE)))[..., :3]


def tiles_of(path: Path) -> list[tuple[int, int]]:
    slide = open_tiled_tiff(path)
    assert slide is not None
    level = slide.levels[0]
    slide.close()
    return [(y, x) for y in range(0, level.height - SIDE + 1, SIDE) for x in range(0, level.width - SIDE + 1, SIDE)]


def rate(make: Callable[[Path], Read], path: Path, tiles: list[tuple[int, int]]) -> float:
    """Tiles per second of processor time, a fresh reader included."""
    started = time.process_time()
    read = make(path)
    for tile in tiles:
        read(*tile)
    return len(tiles) / (time.process_time() - started)


def measure(path: Path) -> list[str]:
    tiles = tiles_of(path)
    ours, theirs = native(path), peer(path)
    for tile in tiles:
        np.testing.assert_array_equal(ours(*tile), theirs(*tile))
    rates: dict[str, list[float]] = {"openslide-python": [], "**native**": []}
    for _ in range(REPEATS):
        for name, make in (("openslide-python", peer), ("**native**", native)):
            rates[name].append(rate(make, path, tiles))
    base = statistics.median(rates["openslide-python"])
    return [
        f"| {path.name} | {tile_bytes(path)} | {len(tiles)} | {name} | {statistics.median(r):.0f} | {max(r):.0f} "
        f"| {statistics.median(r) / base:.2f} | bitwise |"
        for name, r in rates.items()
    ]


def generated(folder: Path) -> Iterator[Path]:
    scene = Scene(seed=0, height=4096, width=4096)
    yield write_slide(scene, folder / "jpeg.svs")
    yield write_slide(scene, folder / "jpeg-across.svs", tile=240)
    tissue = scene.rgb(1024, 1024, 2048, 2048)
    for name, compression in (("rgb", RGB), ("ycbcr", YCBCR)):
        for quality in (36, 40, 45):
            yield write_jpeg_2000(folder / f"jpeg2000-{name}-{quality}dB.svs", tissue, compression, quality=quality)


def tile_bytes(path: Path) -> int:
    """Mean bytes of a compressed tile."""
    with tifffile.TiffFile(path) as tif:
        counts = tif.pages[0].databytecounts
        return sum(counts) // len(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = [line for path in (*generated(Path(folder)), *arguments.slide) for line in measure(path)]
    text = "\n".join(
        [
            "# Reading 256² tiles",
            "",
            f"{datetime.date.today().isoformat()}. {machine('cpu')}. openslide {openslide.__library_version__}.",
            "",
            "| slide | bytes a tile | tiles | reader | median tiles per CPU-second | best | openslide = 1 | pixels |",
            "|---|---:|---:|---|---:|---:|---:|---|",
            *lines,
        ]
    )
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
