"""What the loader knows of the whole slide: which tiles are background, and masks to keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xaipipe.errors import BoundaryError
from xaipipe.running.checks import named_failures
from xaipipe.running.layout import STANDARD_ERROR, STATUS, ArraySpec
from xaipipe.running.patched import PatchedSlide
from xaipipe.running.plan import RegionPlan
from xaipipe.running.run import Run
from xaipipe.running.tiling import Tiling
from xaipipe.stages import Loader
from xaipipe.types import Grid, LabelImage, Tile

_SHARD = 2048
_TAKEN = ("raw", "heatmap", "segmentation", STATUS, STANDARD_ERROR)
"""Arrays that every result may have."""


def fit_loader(run: Run, slide: PatchedSlide, level: int) -> None:
    """Let the loader see the whole slide, before any tile of it is loaded."""
    loader = run.config.loader
    with named_failures(loader, None):
        run.fitted[loader] = loader.fit(slide, level)


@dataclass(frozen=True)
class Worth:
    """The regions with their tiles that are worth explaining, and what the others are."""

    regions: tuple[RegionPlan, ...]
    background: Mapping[str, int]
    """How many of what."""
    unjudged: int = 0
    """Those of which nobody can say, since a picture of them is unreadable: they are explained."""


def worth_explaining(run: Run, tiling: Tiling, slide: PatchedSlide) -> Worth:
    """What the loader says of every tile."""
    planned, skipped, unjudged = [], Counter[str](), 0
    for region in tiling.regions():
        tiles, wanted = tiling.tiles(region), []
        for tile, reason in zip(tiles, _background(run, tiles), strict=True):
            doubtful = reason is not None and slide.hides(tile)
            unjudged += doubtful
            wanted.append(reason is None or doubtful)
            if not wanted[-1]:
                skipped[str(reason)] += 1
        planned.append(RegionPlan.of(region, tiling, wanted))
    return Worth(tuple(planned), dict(sorted(skipped.items())), unjudged)


def masks_of(run: Run) -> tuple[LabelImage, ...]:
    """The loader's masks, checked."""
    loader = run.config.loader
    with named_failures(loader, None):
        masks = tuple(loader.masks(run.fitted.get(loader)))
    names = list(_TAKEN)
    for mask in masks:
        _check(loader, mask, names)
        names.append(mask.name)
    return masks


def mask_spec(mask: LabelImage, downsample: float) -> ArraySpec:
    """A mask as an array of the result, whose grids are in pixels of the explained level."""
    scale, offset = mask.grid.scale, mask.grid.offset
    grid = Grid(
        (scale[0] / downsample, scale[1] / downsample),
        ((offset[0] + 0.5) / downsample - 0.5, (offset[1] + 0.5) / downsample - 0.5),
    )
    h, w = mask.labels.shape
    return ArraySpec(mask.name, "labels", ("label",), h, w, grid, _SHARD, "uint8", mask.classes)


def counted(kinds: Mapping[str, int]) -> str:
    """In words, the most frequent first."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))


def _background(run: Run, tiles: tuple[Tile, ...]) -> tuple[str | None, ...]:
    loader = run.config.loader
    with named_failures(loader, tiles):
        reasons = loader.background(tiles, run.fitted.get(loader))
    if len(reasons) != len(tiles):
        raise BoundaryError(
            f"load method '{loader.name}' answered for the wrong number of tiles",
            got=len(reasons),
            expected=len(tiles),
            where=tiles[0] if tiles else None,
        )
    return reasons


def _check(loader: Loader, mask: LabelImage, names: list[str]) -> None:
    problem = f"load method '{loader.name}' made a mask "
    if mask.name in names:
        raise BoundaryError(problem + "whose name is taken", got=mask.name, expected="a name of its own")
    if mask.labels.dtype != np.uint8 or mask.labels.ndim != 2 or not mask.labels.size:
        got = f"{mask.labels.dtype} {mask.labels.shape}"
        raise BoundaryError(problem + "of the wrong kind", got=got, expected="uint8 [h, w]", where=mask.name)
    if int(mask.labels.max()) >= len(mask.classes):
        raise BoundaryError(
            problem + "with a value that has no name",
            got=int(mask.labels.max()),
            expected=f"values below {len(mask.classes)}",
            where=mask.name,
        )
