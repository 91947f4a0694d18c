"""A region cut into shares: some cells each, and the tile that has to be read for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from xaipipe.models.whole import Own
from xaipipe.running.exact.cells import Span
from xaipipe.running.exact.network import Box, Network, Plane, empty
from xaipipe.running.tiling import Tiling
from xaipipe.shares import CellwiseExplainer, FittedExplainer
from xaipipe.stages import Explainer
from xaipipe.types import Region, Tile

Cutting = Callable[[Network, Tiling, Region], "Iterator[Share]"]


@dataclass(frozen=True, slots=True)
class Share:
    """A tile, clipped at the image's border so that the network's own padding acts there, and its cells."""

    tile: Tile
    own: tuple[Own, ...]
    """Per pooling: the cells in the tile's own maps that count; none for a share that only shows its map."""
    place: tuple[Box, Box] | None = None
    """Of a map with cells of its own: the box in the tile's map, and where on the image's map it goes."""

    @property
    def shown(self) -> Own | None:
        """The cells of the map in the tile's own."""
        return None if self.place is None else _slices(self.place[0])

    @property
    def kind(self) -> tuple[object, ...]:
        """Shares of one kind fit into one batch."""
        inner = None if self.place is None else self.place[0]
        return (self.tile.h, self.tile.w, self.own, inner)


def pooling_shares(network: Network, tiling: Tiling, region: Region) -> Iterator[Share]:
    """Shares that between them own every pooled cell of a region once."""
    for core in _cores(network, tiling, region):
        cells = network.owned(core)
        if not all(map(empty, cells)):
            yield share_of(network, tiling, cells)


def first_share(network: Network, tiling: Tiling) -> Share:
    """Of the whole image."""
    return next(share for region in tiling.regions() for share in pooling_shares(network, tiling, region))


def cuts_for(explainer: Explainer) -> tuple[Cutting, ...]:
    """How regions are divided in the passes of a method, from that over the poolings to that which makes the map."""
    if isinstance(explainer, FittedExplainer):
        return pooling_shares, surveyed_shares, map_shares
    return pooling_shares, cellwise_shares if isinstance(explainer, CellwiseExplainer) else contributing_shares


def largest_tile(network: Network, tiling: Tiling, explainer: Explainer) -> Tile:
    """That is read for any share of a method, by the region in the middle, where least is clipped."""
    regions = list(tiling.regions())
    row, column = regions[-1].row // 2, regions[-1].column // 2
    middle = next(region for region in regions if (region.row, region.column) == (row, column))
    shares = (share for cut in cuts_for(explainer) for share in cut(network, tiling, middle))
    first = first_share(network, tiling).tile  # a region may have none
    return max((first, *(share.tile for share in shares)), key=lambda tile: tile.h * tile.w)


def contributing_shares(network: Network, tiling: Tiling, region: Region) -> Iterator[Share]:
    """Shares that between them own every pooled cell that sees a pixel of the region once.

    Cells are divided at the same pixels as those of the neighbours, so that a share is the same from both sides.
    """
    for core in _cores_around(network, tiling, region):
        seeing = network.seeing(_pixels(region))
        cells = tuple(_common(own, box) for own, box in zip(network.owned(core), seeing, strict=True))
        if not all(map(empty, cells)):
            yield share_of(network, tiling, cells)


def map_shares(network: Network, tiling: Tiling, region: Region) -> Iterator[Share]:
    """Shares that between them show every cell of the region's map once."""
    none: tuple[Box, ...] = (((0, 0), (0, 0)),) * len(network.pools)
    for core in _cores(network, tiling, region):
        shown = network.layer_cells(core)
        if not empty(shown):
            yield _showing(network, tiling, none, shown)


def cellwise_shares(network: Network, tiling: Tiling, region: Region) -> Iterator[Share]:
    """The same, each with all pooled cells that see a cell of the map which it shows."""
    for core in _cores(network, tiling, region):
        shown = network.layer_cells(core)
        if not empty(shown):
            yield _showing(network, tiling, network.seeing(network.pixels_at(shown)), shown)


def surveyed_shares(network: Network, tiling: Tiling, region: Region) -> Iterator[Share]:
    """Shares that between them own every pooled cell and every cell of the map of a region once."""
    for core in _cores(network, tiling, region):
        own, shown = network.owned(core), network.layer_cells(core)
        if not all(map(empty, (*own, shown))):
            yield _showing(network, tiling, own, shown)


def pixel_shares(network: Network, tiling: Tiling, region: Region) -> Iterator[Share]:
    """Tiles that between them hold every pixel of a region once; no cell is theirs."""
    for core in _cores(network, tiling, region):
        yield Share(_tile(tiling, core), ())


def batches(shares: Iterator[Share], pixels: int) -> Iterator[tuple[Share, ...]]:
    """Neighbours of one kind together, at most so many pixels at once; always the same for the same region."""
    waiting: list[Share] = []
    for share in shares:
        room = max(pixels // (share.tile.h * share.tile.w), 1)
        if waiting and (share.kind != waiting[0].kind or len(waiting) >= room):
            yield tuple(waiting)
            waiting = []
        waiting.append(share)
    if waiting:
        yield tuple(waiting)


def share_of(network: Network, tiling: Tiling, cells: tuple[Box, ...], box: Box | None = None) -> Share:
    """The share that owns these cells of the poolings, in the smallest tile, or in a larger one."""
    box = box or network.tile_for(network.planes, cells)
    own = tuple(_slices(_in_tile(plane, some, box)) for plane, some in zip(network.planes, cells, strict=True))
    return Share(_tile(tiling, box), own)


def _showing(network: Network, tiling: Tiling, own: tuple[Box, ...], shown: Box) -> Share:
    """The share that owns these cells of the poolings, and shows these of the map."""
    assert network.layer is not None
    share = share_of(network, tiling, own, network.tile_for((*network.planes, network.layer), (*own, shown)))
    box = (share.tile.y, share.tile.y + share.tile.h), (share.tile.x, share.tile.x + share.tile.w)
    return replace(share, place=(_in_tile(network.layer, shown, box), shown))


def _cores(network: Network, tiling: Tiling, region: Region) -> Iterator[Box]:
    rows, columns = _pixels(region)
    yield from product(network.axes[0].cores(rows, tiling.core), network.axes[1].cores(columns, tiling.core))


def _cores_around(network: Network, tiling: Tiling, region: Region) -> Iterator[Box]:
    """Those of the whole image that own a cell which sees the region."""
    rows, columns = (
        _cores_of_cells(network, tiling, axis, [box[axis] for box in network.seeing(_pixels(region))])
        for axis in (0, 1)
    )
    yield from product(rows, columns)


def _cores_of_cells(network: Network, tiling: Tiling, axis: int, cells: list[Span]) -> list[Span]:
    core, whole = tiling.core, network.axes[axis]
    owners = [
        (first * plane[axis].scale, whole.length if last == plane[axis].count else last * plane[axis].scale)
        for plane, (first, last) in zip(network.planes, cells, strict=True)
        if first < last
    ]
    if not owners:
        return []
    start, stop = min(first for first, _ in owners), max(last for _, last in owners)
    return whole.cores((start // core * core, min(-(-stop // core) * core, whole.length)), core)


def _pixels(region: Region) -> Box:
    return (region.y, region.y + region.h), (region.x, region.x + region.w)


def _common(a: Box, b: Box) -> Box:
    rows, columns = ((max(p[0], q[0]), min(p[1], q[1])) for p, q in zip(a, b, strict=True))
    return rows, columns


def _in_tile(plane: Plane, cells: Box, box: Box) -> Box:
    rows, columns = (
        (span[0] - start[0] // axis.scale, span[1] - start[0] // axis.scale)
        for axis, span, start in zip(plane, cells, box, strict=True)
    )
    return rows, columns


def _slices(box: Box) -> Own:
    if empty(box):
        return slice(0, 0), slice(0, 0)
    return slice(*box[0]), slice(*box[1])


def _tile(tiling: Tiling, box: Box) -> Tile:
    (top, bottom), (left, right) = box
    return Tile(tiling.slide, tiling.level, top, left, bottom - top, right - left)
