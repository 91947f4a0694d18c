"""Dividing relevance by what it is shared out over, and what the stabiliser keeps of it."""

from __future__ import annotations

import torch
from torch import Tensor

from xaipipe.ops import stabilised_divide
from xaipipe.propagation import Books


def shares(relevance: Tensor, z: Tensor, eps: float) -> Tensor:
    """R / (z + eps·sign z) [K, *z]. With eps = 0 nothing is shared out where z is 0."""
    if z.dtype == torch.half:  # kernels do not know it, and its range is too small for quotients anyway
        return shares(relevance.float(), z.float(), eps).half()
    if eps == 0:
        return torch.where(z == 0, 0, relevance / z)
    return stabilised_divide(relevance.contiguous() if relevance.dtype != z.dtype else relevance, z, eps)


def note_stabiliser(books: Books, relevance: Tensor, z: Tensor, shares: Tensor) -> None:
    """R − z·s is what is not shared out."""
    books.absorb("stabiliser", relevance)
    books.give_back("stabiliser", shares, z)
