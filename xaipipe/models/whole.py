"""A model on an image that is looked at in shares: each global pooling gives what the whole image gives.

Inside `outputs` a pooling of the model's is replaced by the whole image's value; backwards it hands its gradient to
the cells that the share owns, and to no others. So the gradients of all shares add up to the whole image's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function_unary

from xaipipe.models.forward import forward
from xaipipe.models.locality import Pool
from xaipipe.models.model import Model
from xaipipe.models.operators import pooled_dimensions

Own = tuple[slice, slice]
"""The rows and columns of a pooling's input that a share owns."""


@dataclass(frozen=True, eq=False)
class WholeImage(Model):
    """A model whose poolings are known for the whole image."""

    pools: tuple[Pool, ...] = ()
    totals: tuple[Tensor, ...] = ()
    """Per pooling [C]: the sum over all cells of the image, in float64."""
    counts: tuple[int, ...] = ()
    """Per pooling: the cells of the image."""
    own: tuple[Own, ...] = ()

    @classmethod
    def of_share(
        cls, model: Model, pools: Sequence[Pool], totals: Sequence[Tensor], counts: Sequence[int], own: Sequence[Own]
    ) -> WholeImage:
        """The model as the tiles of a batch meet it, that own the same cells of their maps."""
        known = (tuple(pools), tuple(totals), tuple(counts), tuple(own))
        return cls(model.module, model.preprocess, model.labels, model.source, model.output, model.weights, *known)

    def answer(self, pixels: Tensor) -> Any:
        """The module's answer for the whole image, once for every tile of a batch."""
        with _at_pools(self.pools, self._pooled):
            return super().answer(pixels)

    def _pooled(self, index: int, maps: Tensor, result: Tensor) -> Tensor:
        pool, total = self.pools[index], self.totals[index]
        cells = self.counts[index] if pool.mean else 1
        value = (total / cells).to(result.device, result.dtype)
        shape = [maps.shape[0], *result.shape[1:]]
        return whole_image_pool(maps, value, shape, pool.axes, self.own[index], cells)


def pooled_cells(model: Model, pools: Sequence[Pool], own: Sequence[Own], pixels: Tensor) -> list[Tensor]:
    """Per pooling: the maps that go into it, [N, …], only the cells that each tile owns."""
    found: list[Tensor] = []

    def keep(index: int, maps: Tensor, result: Tensor) -> Tensor:
        found.append(_own_cells(maps, pools[index].axes, own[index]))
        return result

    with torch.no_grad(), _at_pools(pools, keep):
        forward(model.module, pixels, model.source)
    return found


def pool_sums(model: Model, pools: Sequence[Pool], own: Sequence[Own], pixels: Tensor) -> list[Tensor]:
    """Per pooling [N, C]: the sum in float64 of the cells that each tile owns."""
    maps = pooled_cells(model, pools, own, pixels)
    return [cells.double().sum(dim=pool.axes) for pool, cells in zip(pools, maps, strict=True)]


def _at_pools(
    pools: Sequence[Pool], look: Callable[[int, Tensor, Tensor], Tensor]
) -> AbstractContextManager[TorchFunctionMode]:
    return _PoolWatch({pool.call: index for index, pool in enumerate(pools)}, look)


class _PoolWatch(TorchFunctionMode):
    """Hands the input and the result of every known pooling to `look`, whose answer takes the result's place."""

    def __init__(self, calls: dict[int, int], look: Callable[[int, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._calls, self._look, self._seen = calls, look, -1

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if pooled_dimensions(getattr(func, "__name__", ""), args, kwargs) is None:
            return result
        self._seen += 1
        index = self._calls.get(self._seen)
        return result if index is None else self._look(index, args[0], result)


def whole_image_pool(
    maps: Tensor, value: Tensor, shape: list[int], axes: tuple[int, int], own: Own, cells: int
) -> Tensor:
    """The whole image's pooled value, to which a share contributes its own cells; an operator that rules can see."""
    if has_torch_function_unary(maps):
        seen: Tensor = handle_torch_function(whole_image_pool, (maps,), maps, value, shape, axes, own, cells)
        return seen
    pooled: Tensor = _OwnShare.apply(maps, value, shape, axes, own, cells)  # type: ignore[no-untyped-call]
    return pooled


class _OwnShare(torch.autograd.Function):
    """Forwards the whole image's value, backwards only to the cells that the share owns."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, value: Tensor, shape: list[int], axes: tuple[int, int], own: Own, cells: int
    ) -> Tensor:
        ctx.shape, ctx.axes, ctx.own, ctx.cells = maps.shape, axes, own, cells
        channel = next(d for d in range(1, 4) if d not in axes)
        kept = len(shape) == 4
        spread = [1, *(len(value) if d == channel else 1 for d in range(1, 4))] if kept else [1, len(value)]
        return value.reshape(spread).expand(shape).clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        maps = gradient.new_zeros(ctx.shape)
        y, x = ctx.axes
        if gradient.ndim != 4:
            gradient = gradient.unsqueeze(y).unsqueeze(x)
        _own_cells(maps, ctx.axes, ctx.own).copy_(gradient / ctx.cells)
        return maps, None, None, None, None, None


def _own_cells(maps: Tensor, axes: tuple[int, int], own: Own) -> Tensor:
    """A view."""
    index: list[Any] = [slice(None)] * maps.ndim
    index[axes[0]], index[axes[1]] = own
    return maps[tuple(index)]
