"""Writing through a view: which elements of its base does it show?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Replay = Callable[[Tensor], Tensor]
"""Makes a view of another base."""


def placed(base: Tensor, replay: Replay, new: Tensor) -> Tensor:
    """The base with other values where a view looks."""
    places = replay(_numbered(base))
    flat = base.reshape(-1).scatter(0, places.reshape(-1), new.reshape(-1))
    return laid_out_like(base, flat.reshape(base.shape))


def taken_out(view: Tensor) -> Replay:
    """What a view shows, of another tensor in the place of its base."""
    base = view._base
    assert base is not None
    numbers_of, shape, stride = base, view.shape, view.stride()
    offset = int(view.storage_offset()) - int(base.storage_offset())

    def replay(other: Tensor) -> Tensor:
        places = _numbered(numbers_of).as_strided(shape, stride, offset)
        return other.reshape(-1)[places.reshape(-1)].reshape(shape)

    return replay


def laid_out_like(like: Tensor, tensor: Tensor) -> Tensor:
    """The same values in memory in the other tensor's order of dimensions, so that the same views can be made of it."""
    if tensor.stride() == like.stride():
        return tensor
    order = sorted(range(like.ndim), key=like.stride, reverse=True)
    return tensor.permute(order).contiguous().permute([order.index(d) for d in range(like.ndim)])


def _numbered(base: Tensor) -> Tensor:
    """0, 1, 2, …, laid out as the base is."""
    count = torch.arange(base.numel(), device=base.device).reshape(base.shape)
    return torch.empty_strided(base.shape, base.stride(), dtype=count.dtype, device=base.device).copy_(count)
