"""Memory that a tensor takes over from another."""

from __future__ import annotations

from torch import Tensor


def of_its_own(memory: Tensor) -> Tensor:
    """A tensor in the same memory, which to torch is no view of the other."""
    return memory.data
