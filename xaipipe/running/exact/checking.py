"""Whether a network's tiles add up to the whole image, tried on some of them.

What operators say is not all: a network may look at the size of its input, or do what no trace sees.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xaipipe.errors import UsageError
from xaipipe.models.whole import WholeImage, pooled_cells
from xaipipe.running.device import on_device
from xaipipe.running.exact.network import Box, Network, empty
from xaipipe.running.exact.shares import share_of
from xaipipe.running.run import Run
from xaipipe.running.tiling import Tiling
from xaipipe.types import Batch, Tile

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_COARSE = 5e-2
"""For the half precisions."""
_HEADS = 1e-6
"""For what is computed twice from the same numbers, by the same operators."""


def check_numerically(run: Run, network: Network, tiling: Tiling) -> None:
    """Nothing that a tile adds, and nothing that is made of the sums, may depend on how much is read around it.

    Looked at where tiles differ: at the image's start, in its middle and at its end.
    """
    for core in _telling_cores(network, tiling):
        cells = network.owned(core)
        if not all(map(empty, cells)):
            _check_core(run, network, tiling, cells)


def _check_core(run: Run, network: Network, tiling: Tiling, cells: tuple[Box, ...]) -> None:
    near = network.tile_for(network.planes, cells)
    rows, columns = (
        axis.box((span[0] - axis.stride, span[1] + axis.stride)) for axis, span in zip(network.axes, near, strict=True)
    )
    shares = [share_of(network, tiling, cells, box) for box in (near, (rows, columns))]
    pixels = [read_tile(run, share.tile).pixels for share in shares]
    pools = network.pools
    pooled = [pooled_cells(run.model, pools, share.own, x) for share, x in zip(shares, pixels, strict=True)]
    for a, b in zip(*pooled, strict=True):
        _require_equal("its maps change", a, b, _TOLERANCE.get(a.dtype, _COARSE))
    totals = [maps.double().sum(dim=(0, *pool.axes)) for pool, maps in zip(pools, pooled[0], strict=True)]
    counts = [max(maps.numel() // max(len(total), 1), 1) for maps, total in zip(pooled[0], totals, strict=True)]
    with torch.no_grad():
        heads = [WholeImage.of_share(run.model, pools, totals, counts, share.own) for share in shares]
        a, b = (head.outputs(x) for head, x in zip(heads, pixels, strict=True))
    _require_equal("what it makes of the same sums changes", a, b, _HEADS)


def _require_equal(what: str, a: Tensor, b: Tensor, tolerance: float) -> None:
    if a.shape != b.shape:
        raise refused(f"{what} in size with what is read around a tile: {tuple(a.shape)} and {tuple(b.shape)}")
    difference = float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) if a.numel() else 0.0
    if not difference <= tolerance:  # NaN is no agreement
        raise refused(f"{what} by {difference:.1e} with what is read around a tile")


def _telling_cores(network: Network, tiling: Tiling) -> list[Box]:
    """The first, the one in the middle and the last."""
    core = tiling.core
    found = []
    for place in (lambda axis: 0, lambda axis: axis.length // 2, lambda axis: axis.length - 1):
        rows, columns = (axis.cores((place(axis) // core * core, axis.length), core)[0] for axis in network.axes)
        found.append((rows, columns))
    return list(dict.fromkeys(found))


def read_tile(run: Run, tile: Tile) -> Batch:
    return on_device(run.stage(run.config.loader, (tile,)), run.model.device)


def refused(reason: str) -> UsageError:
    return UsageError(
        "this network cannot be explained exactly tile by tile",
        got=reason,
        expected="convolutions, poolings and other local operators, up to a global mean or sum",
        hint='set [run] mode = "approximate": every tile is then explained on its own',
    )
