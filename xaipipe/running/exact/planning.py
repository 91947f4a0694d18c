"""Finding out whether a network can be explained exactly, and how its tiles have to be cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from xaipipe.errors import UsageError
from xaipipe.models.locality import Locality, trace_locality
from xaipipe.models.whole import pooled_cells
from xaipipe.running.device import on_device
from xaipipe.running.exact.cells import Axis, Cells
from xaipipe.running.exact.network import Box, Network, Plane, empty
from xaipipe.running.exact.shares import share_of
from xaipipe.running.run import Run
from xaipipe.running.tiling import Lattice, Tiling
from xaipipe.shares import FittedExplainer, SummedExplainer
from xaipipe.types import Batch, Grid, Slide, Tile

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_COARSE = 5e-2
"""For the half precisions."""


def find_network(run: Run, slide: Slide, level: int) -> Network:
    """The network on the whole level; a worded refusal where its tiles could not give the whole image's map."""
    _require_method(run)
    size = slide.levels[level]
    side = run.config.loader.params.tile or run.preprocess.size
    rough = Tile(slide, level, 0, 0, min(side, size.height), min(side, size.width))
    stride = _locality(run, _read(run, rough)).stride
    axes = Axis(size.height, stride[0]), Axis(size.width, stride[1])
    corners = [_corner(axes, rough, at_end) for at_end in (False, True)]
    read = [_read(run, tile) for tile in corners]
    first, last = (_locality(run, batch) for batch in read)
    planes = tuple(
        _plane(corners, [a.field.grid, b.field.grid], [a.cells, b.cells], a.field.receptive)
        for a, b in zip(first.pools, last.pools, strict=True)
    )
    network = Network(axes, first.pools, planes, None)
    if not isinstance(run.config.explainer, FittedExplainer):
        return network
    maps = [run.stage(run.config.explainer, batch) for batch in read]
    cells = [(int(one.values.shape[2]), int(one.values.shape[3])) for one in maps]
    sight = 2 * network.reach + 1.0  # a layer in front of a pooling sees no further than the pooling's cells
    return replace(network, layer=_plane(corners, [one.grid for one in maps], cells, (sight, sight)))


def exact_tiling(run: Run, network: Network, slide: Slide, level: int) -> Tiling:
    """Cores that repeat with the network's stride; what its cells see is read around them."""
    params, stride = run.config.loader.params, math.lcm(*(axis.stride for axis in network.axes))
    around = 2 * network.reach
    wanted = _wide_enough(run, around) + stride - 1 if params.tile is None else params.tile - around
    core = wanted // stride * stride
    if core < stride:
        raise UsageError(
            "the tile is too small for an exact run of this network",
            got=f"{params.tile} pixels, where a cell sees {network.reach} to each side",
            expected=f"at least {around + stride}",
            hint="leave out [load] tile, and a size that fits is chosen",
        )
    shard = run.config.store.params.shard
    return Tiling(slide, level, core, network.reach, max(shard // core, 1) * core)


def _wide_enough(run: Run, around: int) -> int:
    """A core whose margin does not cost more than it does, in a tile of as many pixels as a batch of the model's."""
    batch = run.preprocess.size * math.sqrt(run.config.loader.params.batch)
    return max(2 * around, int(batch) - around)


def exact_lattice(network: Network, tiling: Tiling) -> Lattice:
    """The cells of the whole image's map."""
    if network.layer is None:
        return Lattice(Grid(), (1, 1), tiling.height, tiling.width, tiling.region, (0, 0), tiling.core, ())
    y, x = network.layer
    if y.scale != x.scale or tiling.core % y.scale:
        raise UsageError(
            "maps with these cells cannot be laid side by side",
            got=f"cells of {y.scale} × {x.scale} pixels",
            expected=f"squares that divide {tiling.core} pixels",
        )
    grid = Grid((float(y.scale), float(x.scale)), (y.offset, x.offset))
    step = (y.scale, x.scale)
    return Lattice(grid, step, y.count, x.count, tiling.region // y.scale, (0, 0), tiling.core // y.scale, ())


def check_numerically(run: Run, network: Network, tiling: Tiling) -> None:
    """What the middle of the image puts into the poolings must not depend on how much is read around it."""
    cells = network.owned(_middle(network, tiling))
    if all(map(empty, cells)):
        return
    near = network.tile_for(network.planes, cells)
    rows, columns = (
        axis.box((span[0] - 2 * axis.stride, span[1] + 2 * axis.stride))
        for axis, span in zip(network.axes, near, strict=True)
    )
    found = []
    for box in (near, (rows, columns)):
        share = share_of(network, tiling, cells, box)
        batch = _read(run, share.tile)
        found.append(pooled_cells(run.model, network.pools, share.own, batch.pixels))
    for a, b in zip(*found, strict=True):
        difference = float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) if a.numel() else 0.0
        if difference > _TOLERANCE.get(a.dtype, _COARSE):
            raise _refused(f"its maps change by {difference:.1e} with what is read around a tile")


def _require_method(run: Run) -> None:
    explainer, loader = run.config.explainer, run.config.loader.params
    if not isinstance(explainer, SummedExplainer | FittedExplainer):
        raise UsageError(
            f"explain method '{explainer.name}' cannot be exact: it does not say how maps of shares go together",
            hint='set [run] mode = "approximate"',
        )
    if loader.overlap:
        raise UsageError(
            "in an exact run the overlap follows from the network", got=f"[load] overlap = {loader.overlap}"
        )


def _read(run: Run, tile: Tile) -> Batch:
    return on_device(run.stage(run.config.loader, (tile,)), run.model.device)


def _locality(run: Run, batch: Batch) -> Locality:
    found = trace_locality(run.model.module, batch.pixels)
    if found.obstacles:
        raise _refused("operators that are not local: " + ", ".join(found.obstacles[:4]))
    if not found.pools:
        raise _refused("no global pooling of its maps was seen")
    return found


def _refused(reason: str) -> UsageError:
    return UsageError(
        "this network cannot be explained exactly tile by tile",
        got=reason,
        expected="convolutions, poolings and other local operators, up to a global mean or sum",
        hint='set [run] mode = "approximate": every tile is then explained on its own',
    )


def _corner(axes: tuple[Axis, Axis], rough: Tile, at_end: bool) -> Tile:
    """A tile at the image's start or end, cut as all tiles will be."""
    (top, bottom), (left, right) = (
        axis.box((axis.length - side, axis.length) if at_end else (0, side))
        for axis, side in zip(axes, (rough.h, rough.w), strict=True)
    )
    return Tile(rough.slide, rough.level, top, left, bottom - top, right - left)


def _plane(
    corners: Sequence[Tile], grids: Sequence[Grid], cells: Sequence[tuple[int, int]], receptive: tuple[float, float]
) -> Plane:
    """The cells of a map of the whole image, from its maps of the first and the last tile."""
    first, last = grids
    if first != last or any(scale != int(scale) for scale in first.scale):
        raise _refused(f"its cells lie differently in different tiles: {first} and {last}")
    begin = (corners[1].y, corners[1].x)
    y, x = (
        Cells(
            scale=int(first.scale[axis]),
            offset=first.offset[axis],
            reach=(receptive[axis] - 1) / 2,
            count=begin[axis] // int(first.scale[axis]) + cells[1][axis],
        )
        for axis in (0, 1)
    )
    return y, x


def _middle(network: Network, tiling: Tiling) -> Box:
    rows, columns = (
        (start, min(start + tiling.core, axis.length))
        for axis in network.axes
        for start in [axis.length // 2 // tiling.core * tiling.core]
    )
    return rows, columns
