"""Dividing relevance by what it is shared out over; what is not shared out is entered into the books."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xaipipe.ops import stabilised_divide_and_kept
from xaipipe.propagation import Books


def shares(relevance: Tensor, z: Tensor, eps: float, books: Books) -> Tensor:
    """R / (z + eps·sign z) [K, *z]. With eps = 0 nothing is shared out where z is 0."""
    if eps == 0:
        s = torch.where(z == 0, 0, relevance / z)
        books.absorb("stabiliser", relevance)
        books.give_back("stabiliser", s, z)
        return s
    (s,) = by_kernel(stabilised_divide_and_kept, books, relevance, z, eps)
    return s


def by_kernel(
    kernel: Callable[..., tuple[Tensor, ...]], books: Books, relevance: Tensor, z: Tensor, *more: Tensor | float
) -> Sequence[Tensor]:
    """A kernel that also says what the stabiliser keeps of every image, in a type that it knows."""
    if z.dtype == torch.half:  # whose range is too small for quotients anyway
        wide = (value.float() if isinstance(value, Tensor) else value for value in (relevance, z, *more))
        *parts, kept = kernel(*wide, books.parts_of(z))
        books.enter("stabiliser", kept)
        return [part.half() for part in parts]
    *parts, kept = kernel(relevance, z, *more, books.parts_of(z))
    books.enter("stabiliser", kept)
    return parts
