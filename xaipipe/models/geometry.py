"""Where a layer's cells lie on the input, as gradients show it.

It stands in where an operator has no rule, and `xaipipe.placement` holds what is derived against it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xaipipe.errors import UsageError
from xaipipe.models.forward import forward
from xaipipe.models.layers import NamedLayer, not_run, require_map, watch
from xaipipe.models.survey import noise
from xaipipe.types import Grid

Cell = tuple[int, int]
_PROBES = 4
"""Images by which a grid is measured."""


def measured_grid(module: nn.Module, layer: NamedLayer, pixels: Tensor) -> Grid:
    """The grid as gradients show it: the centroid of the squared gradient of inner cells, a line through two."""
    images = noise(pixels, _PROBES)
    size = map_size(module, layer, images)
    scale, offset = [1.0, 1.0], [0.0, 0.0]
    for axis in (0, 1):
        near, far = size[axis] // 3, max(size[axis] - 1 - size[axis] // 3, size[axis] // 3)
        if near == far:
            raise UsageError(
                f"layer '{layer.name}' has too few cells to tell where they lie",
                got=f"a map of {size[0]} × {size[1]}",
                hint="name a layer before it: `xaipipe layers` lists those with space, 'auto' is the last",
            )
        middle = size[1 - axis] // 2
        cells = [(i, middle) if axis == 0 else (middle, i) for i in (near, far)]
        first, last = cell_centroids(module, layer, images, cells)[:, axis].tolist()
        scale[axis] = (last - first) / (far - near)
        _require_plausible(scale[axis], int(pixels.shape[2 + axis]) / size[axis], layer)
        offset[axis] = first - near * scale[axis]
    return Grid((scale[0], scale[1]), (offset[0], offset[1]))


def _require_plausible(scale: float, even: float, layer: NamedLayer) -> None:
    """Cells that share out the input lie about evenly; otherwise the layer's axes are not [N, C, h, w]."""
    if not even / 2 <= scale <= even * 2:
        raise UsageError(
            f"where the cells of layer '{layer.name}' lie cannot be told",
            got=f"neighbouring cells {scale:.1f} pixels apart by their gradients",
            expected=f"about {even:.1f}, from the sizes of input and map",
            hint="choose another layer; its output has to be [N, C, h, w]",
        )


def cell_centroids(module: nn.Module, layer: NamedLayer, images: Tensor, cells: Sequence[Cell]) -> Tensor:
    """The centres (y, x) of what some cells of a layer see, [cells, 2]: the centroid of their squared gradients.

    A cell's squared gradient is that of all its channels, Σ_c (∂A_c/∂x)², in the mean over the images. It is had from
    one backward pass an image: channels with random signs, whose products with each other cancel in the mean.
    """
    generator = torch.Generator().manual_seed(0)
    weights = torch.zeros(len(cells), *images.shape[2:], dtype=torch.float64, device=images.device)
    for image in images.detach():
        leaf = image[None].clone().requires_grad_()
        with torch.enable_grad():
            maps = _maps_of(module, layer, leaf)
            signed = [_signed_sum(maps[0, :, row, column], generator) for row, column in cells]
        for weight, one in zip(weights, signed, strict=True):
            (gradient,) = torch.autograd.grad(one, leaf, retain_graph=True, allow_unused=True)
            if gradient is not None:
                weight += gradient[0].double().square().sum(dim=0)
    return torch.stack([_centroid(weight, layer, cell) for weight, cell in zip(weights, cells, strict=True)])


def _signed_sum(channels: Tensor, generator: torch.Generator) -> Tensor:
    signs = torch.randint(0, 2, channels.shape, generator=generator).mul_(2).sub_(1)
    return (signs.to(channels) * channels).sum()


def _centroid(weight: Tensor, layer: NamedLayer, cell: Cell) -> Tensor:
    total = weight.sum()
    if total == 0:
        raise UsageError(f"cell {cell} of layer '{layer.name}' does not depend on the input")
    along = [torch.arange(n, dtype=weight.dtype, device=weight.device) for n in weight.shape]
    return torch.stack([(weight.sum(1) * along[0]).sum(), (weight.sum(0) * along[1]).sum()]).cpu() / total.cpu()


def _maps_of(module: nn.Module, layer: NamedLayer, image: Tensor) -> Tensor:
    """The maps of a layer [N, C, h, w]."""
    kept: list[Tensor] = []
    with watch(layer.module, kept.append):
        forward(module, image)
    if not kept:
        raise not_run(layer)
    require_map(layer, kept[-1])
    return layer.layout.to_maps(kept[-1])


def map_size(module: nn.Module, layer: NamedLayer, pixels: Tensor) -> tuple[int, int]:
    with torch.no_grad():
        maps = _maps_of(module, layer, pixels[:1])
    return int(maps.shape[2]), int(maps.shape[3])
