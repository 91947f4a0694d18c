"""A scene as a pyramidal JPEG TIFF in Aperio's layout, streamed: memory does not grow with the slide."""

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

from xaipipe_demo.scene import BLOCK, Scene
from xaipipe_demo.spool import Pixels, Spool, encode, padded, reduce

Progress = Callable[[int, int], None]

STEP = 4
"""Downsampling from one level to the next, as Aperio's scanners do it."""

_THUMBNAIL = 1024
_CLASSIC_LIMIT = 2**30


class Pieces(NamedTuple):
    """What a worker makes of one square of the slide."""

    tiles: list[list[bytes]]
    """Its encoded tiles, by row."""
    reduced: list[Pixels]
    """It, once for every reduced level."""


class _Work(NamedTuple):
    """Everything the steps below share."""

    scene: Scene
    tile: int
    quality: int
    threads: int
    progress: Progress | None
    spools: list[Spool]

    @property
    def across(self) -> int:
        """Tiles along the side of a worker's square: as near to a scene's block as they come."""
        return max(BLOCK // self.tile, 1)

    def cut(self, y: int, x: int) -> Pieces:
        """Make one square of the slide, encode its tiles and reduce it."""
        scene, side = self.scene, self.across * self.tile
        pixels = scene.rgb(y, x, min(side, scene.height - y), min(side, scene.width - x))
        full = padded(pixels, side, side)
        starts = range(0, side, self.tile)
        tiles = [[encode(full[i : i + self.tile, j : j + self.tile], self.quality) for j in starts] for i in starts]
        reduced, last = [], full
        for _ in self.spools:
            last = reduce(last, STEP)
            reduced.append(last)
        return Pieces(tiles, reduced)

    def base(self) -> Iterator[bytes]:
        """The encoded tiles of level 0 in order; the reduced levels are filled on the way."""
        side, tile = self.across * self.tile, self.tile
        height, width = self.scene.height, self.scene.width
        total = -(-height // side) * -(-width // side)
        squares = ((y, x) for y in range(0, height, side) for x in range(0, width, side))
        rows: list[list[bytes]] = [[] for _ in range(self.across)]
        for done, ((y, x), pieces) in enumerate(_ahead(self.cut, squares, self.threads), 1):
            self._spool(y, x, pieces)
            for row, made in zip(rows, pieces.tiles, strict=True):
                row.extend(made)
            if self.progress:
                self.progress(done, total)
            if x + side >= width:
                for row in rows[: -(-(height - y) // tile)]:
                    yield from row[: -(-width // tile)]
                rows = [[] for _ in range(self.across)]

    def _spool(self, y: int, x: int, pieces: Pieces) -> None:
        for level, (spool, pixels) in enumerate(zip(self.spools, pieces.reduced, strict=True), 1):
            spool.write(y // STEP**level, x // STEP**level, pixels)

    def level(self, spool: Spool) -> Iterator[bytes]:
        """The encoded tiles of a reduced level."""
        for y in range(0, spool.height, self.tile):
            band = spool.band(y, self.tile)
            for x in range(0, spool.width, self.tile):
                piece = band[:, x : x + self.tile]
                yield encode(np.ascontiguousarray(padded(piece, self.tile, self.tile)), self.quality)


def _ahead(
    cut: Callable[[int, int], Pieces], squares: Iterator[tuple[int, int]], threads: int
) -> Iterator[tuple[tuple[int, int], Pieces]]:
    """Results in order, at most two squares a thread ahead of whoever takes them."""
    pending: deque[tuple[tuple[int, int], Future[Pieces]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for square in squares:
            pending.append((square, pool.submit(cut, *square)))
            if len(pending) > 2 * threads:
                where, future = pending.popleft()
                yield where, future.result()
        for where, future in pending:
            yield where, future.result()


def _thumbnail(source: Spool) -> Pixels:
    """The whole slide on one small page, from the finest reduced level."""
    factor = min(-(-max(source.height, source.width) // _THUMBNAIL), source.height, source.width)
    rows = (reduce(source.band(y, factor), factor) for y in range(0, source.height - factor + 1, factor))
    return np.concatenate(list(rows))


def _description(scene: Scene, size: str, quality: int) -> str:
    """Aperio's free text, from which readers take vendor, resolution and magnification."""
    power = f"AppMag = {round(10 / scene.mpp)}|MPP = {scene.mpp:g}"
    head = f"Aperio Image Library v12.0.0\r\n{size}"
    return f"{head} JPEG/RGB Q={quality}|{power}|Synthetic = seed {scene.seed}"


def _check(scene: Scene, tile: int, levels: int) -> None:
    """Refuse what the format cannot hold, before any work is done."""
    if tile < 16 or tile % 16:
        raise ValueError(f"tile = {tile}: TIFF tiles are multiples of 16 pixels, for example 256")
    smallest = STEP ** (levels - 1)
    if levels < 2 or min(scene.height, scene.width) < smallest or tile * max(BLOCK // tile, 1) % smallest:
        raise ValueError(
            f"levels = {levels} on a slide of {scene.height} x {scene.width} pixels with tiles of {tile}: "
            f"expected at least 2, and the last no smaller than 1 pixel in {smallest}"
        )


def write_slide(
    scene: Scene,
    path: str | Path,
    *,
    tile: int = 256,
    quality: int = 85,
    threads: int = 2,
    progress: Progress | None = None,
    levels: int = 3,
) -> Path:
    """Write a scene as a slide that openslide opens as Aperio's; `progress(done, total)` counts blocks.

    It appears under its name only when it is whole; a killed run leaves at most a hidden temporary file.
    """
    _check(scene, tile, levels)
    path = Path(path)
    sizes = [(scene.height // STEP**i, scene.width // STEP**i) for i in range(1, levels)]
    spools = [Spool(h, w, path.parent) for h, w in sizes]
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        _write_pages(_Work(scene, tile, quality, threads, progress, spools), unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
        for spool in spools:
            spool.close()
    return path


def _write_pages(work: _Work, path: Path) -> None:
    """Aperio's order: base, thumbnail in strips, then the reduced levels."""
    scene, tile = work.scene, work.tile
    per_cm = 1e4 / scene.mpp
    whole = f"{scene.width}x{scene.height} [0,0 {scene.width}x{scene.height}] ({tile}x{tile})"
    common: dict[str, Any] = {
        "photometric": "ycbcr",
        "compression": "jpeg",
        "subsampling": (2, 2),
        "dtype": np.uint8,
        "tile": (tile, tile),
        "metadata": None,
        "software": False,
        "resolutionunit": "CENTIMETER",
    }
    with tifffile.TiffWriter(path, bigtiff=scene.height * scene.width > _CLASSIC_LIMIT) as tiff:
        text = _description(scene, whole, work.quality)
        size, resolution = (scene.height, scene.width, 3), (per_cm, per_cm)
        tiff.write(work.base(), shape=size, description=text, resolution=resolution, **common)
        _write_thumbnail(tiff, work, whole)
        for i, spool in enumerate(work.spools, 1):
            text = _description(scene, f"{whole} -> {spool.width}x{spool.height}", work.quality)
            size, resolution = (spool.height, spool.width, 3), (per_cm / STEP**i, per_cm / STEP**i)
            tiff.write(work.level(spool), shape=size, description=text, resolution=resolution, **common)


def _write_thumbnail(tiff: tifffile.TiffWriter, work: _Work, whole: str) -> None:
    """The second page, in strips: that is how readers tell it from a level."""
    small = _thumbnail(work.spools[0])
    text = _description(work.scene, f"{whole} -> {small.shape[1]}x{small.shape[0]} -", work.quality)
    tiff.write(
        small,
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": work.quality},
        rowsperstrip=16,
        description=text,
        metadata=None,
        software=False,
    )
