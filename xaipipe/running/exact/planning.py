"""Finding out whether a network can be explained exactly, and how its tiles have to be cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from xaipipe.errors import InputError, UsageError
from xaipipe.models.locality import Locality, trace_locality
from xaipipe.running.exact.cells import Axis, Cells
from xaipipe.running.exact.checking import read_tile, refused
from xaipipe.running.exact.network import Network, Plane
from xaipipe.running.run import Run
from xaipipe.running.tiling import Lattice, Tiling
from xaipipe.shares import CellwiseExplainer, ComparingExplainer, ExactExplainer, FittedExplainer
from xaipipe.types import Batch, Grid, Slide, Tile

_LOOKS = (1, 4)
"""Times the model's size, along a side, of the tile that shows what the network is."""


def find_network(run: Run, slide: Slide, level: int) -> Network:
    """The network on the whole level; a worded refusal where its tiles could not give the whole image's map."""
    _require_method(run)
    size = slide.levels[level]
    rough, stride = _first_look(run, slide, level)
    axes = Axis(size.height, stride[0]), Axis(size.width, stride[1])
    corners = [_corner(axes, rough, at_end) for at_end in (False, True)]
    read = [read_tile(run, tile) for tile in corners]
    first, last = (_locality(run, batch) for batch in read)
    planes = tuple(
        _plane(corners, [a.field.grid, b.field.grid], [a.cells, b.cells], a.field.receptive)
        for a, b in zip(first.pools, last.pools, strict=True)
    )
    network = Network(axes, first.pools, planes, None)
    if not isinstance(run.config.explainer, FittedExplainer | CellwiseExplainer):
        return network
    maps = [run.stage(run.config.explainer, batch) for batch in read]
    cells = [(int(one.values.shape[2]), int(one.values.shape[3])) for one in maps]
    sight = 2 * network.reach + 1.0  # a layer in front of a pooling sees no further than the pooling's cells
    return replace(network, layer=_plane(corners, [one.grid for one in maps], cells, (sight, sight)))


def _first_look(run: Run, slide: Slide, level: int) -> tuple[Tile, tuple[int, int]]:
    """A tile that the network takes, and its stride; one that pads nothing may want more than it was trained on."""
    size = slide.levels[level]
    side = run.config.loader.params.tile or run.preprocess.size
    for times in _LOOKS:
        rough = Tile(slide, level, 0, 0, min(times * side, size.height), min(times * side, size.width))
        try:
            return rough, _locality(run, read_tile(run, rough)).stride
        except InputError:
            if times == _LOOKS[-1] or (rough.h, rough.w) == (size.height, size.width):
                raise
    raise AssertionError("the last look returns or raises")


def passes_over(run: Run, network: Network) -> int:
    """How often the slide is streamed: for the poolings, for the maps, and for what a method wants to know before."""
    explainer = run.config.explainer
    surveys = isinstance(explainer, ComparingExplainer) and explainer.survey() is not None
    return 2 + isinstance(explainer, FittedExplainer) + surveys


def exact_tiling(run: Run, network: Network, slide: Slide, level: int) -> Tiling:
    """Cores that repeat with the network's stride; what its cells see is read around them."""
    params, stride = run.config.loader.params, math.lcm(*(axis.stride for axis in network.axes))
    margin = _margin(run, network)
    around = 2 * margin
    wanted = _wide_enough(run, around) + stride - 1 if params.tile is None else params.tile - around
    core = wanted // stride * stride
    if core < stride:
        raise UsageError(
            "the tile is too small for an exact run of this network",
            got=f"{params.tile} pixels, of which {margin} on each side are read for what cells see",
            expected=f"at least {around + stride}",
            hint="leave out [load] tile, and a size that fits is chosen",
        )
    shard = run.config.store.params.shard
    return Tiling(slide, level, core, margin, max(shard // core, 1) * core)


def _margin(run: Run, network: Network) -> int:
    """Pixels around a core: what its cells see; where the gradient there is wanted, what those see that see them."""
    return network.reach * (2 if isinstance(run.config.explainer, CellwiseExplainer) else 1)


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
    for cells, length in ((y, tiling.height), (x, tiling.width)):
        room = -(-length // tiling.region) * (tiling.region // cells.scale)
        if cells.count > room:
            raise UsageError(
                "the layer's map goes beyond the image, further than the last shard",
                got=f"{cells.count} cells of {cells.scale} pixels on {length} pixels",
                expected=f"at most {room}",
                hint="name another layer, or set another [store] shard",
            )
    grid = Grid((float(y.scale), float(x.scale)), (y.offset, x.offset))
    step = (y.scale, x.scale)
    return Lattice(grid, step, y.count, x.count, tiling.region // y.scale, (0, 0), tiling.core // y.scale, ())


def _require_method(run: Run) -> None:
    explainer, loader = run.config.explainer, run.config.loader.params
    if not isinstance(explainer, ExactExplainer):
        raise UsageError(
            f"explain method '{explainer.name}' cannot be exact: it does not say how maps of shares go together",
            hint='set [run] mode = "approximate"',
        )
    if loader.overlap:
        raise UsageError(
            "in an exact run the overlap follows from the network",
            got=f"[load] overlap = {loader.overlap}",
            expected="0",
            hint="leave out [load] overlap, or add --set load.overlap=0",
        )
    explainer.require_exact()


def _locality(run: Run, batch: Batch) -> Locality:
    found = trace_locality(run.model.module, batch.pixels)
    if found.obstacles:
        raise refused("operators that are not local: " + ", ".join(found.obstacles[:4]))
    if not found.pools:
        raise refused("no global pooling of its maps was seen")
    return found


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
        raise refused(f"its cells lie differently in different tiles: {first} and {last}")
    begin = (corners[1].y, corners[1].x)
    end = (corners[1].y + corners[1].h, corners[1].x + corners[1].w)
    y, x = (
        _cells(
            scale=int(first.scale[axis]),
            offset=first.offset[axis],
            reach=(receptive[axis] - 1) / 2,
            count=begin[axis] // int(first.scale[axis]) + cells[1][axis],
            length=end[axis],
        )
        for axis in (0, 1)
    )
    return y, x


def _cells(scale: int, offset: float, reach: float, count: int, length: int) -> Cells:
    """Cells that lie outside the image, where it is mirrored or repeated, see as far back into it."""
    outside = max(-offset, offset + (count - 1) * scale - (length - 1), 0.0)
    return Cells(scale, offset, reach + 2 * outside, count)
