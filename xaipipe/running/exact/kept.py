"""Sums of a region, as stores keep them: a resumed run does not make them anew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe.stages import Store
from xaipipe.types import Region

Sums = list[Tensor]
"""In float64, one for each pooling or for whatever a method surveys."""


class Kept(ABC):
    """What is known of regions, under a name, in the stores of all targets."""

    def __init__(self, name: str, stores: Sequence[Store]) -> None:
        self._name, self._stores = name, stores

    @abstractmethod
    def recall(self, region: Region) -> Sums | None:
        """None where it has to be computed."""

    @abstractmethod
    def remember(self, region: Region, sums: Sums) -> None: ...

    def _recalled(self, store: Store, region: Region) -> Sums | None:
        kept = store.recall(key_of(self._name, region))
        return None if kept is None else [torch.tensor(part, dtype=torch.float64) for part in kept]


class Common(Kept):
    """The same for all targets: each store has it, so that each result can be resumed by itself."""

    def recall(self, region: Region) -> Sums | None:
        every = (self._recalled(store, region) for store in self._stores)
        return next((found for found in every if found is not None), None)

    def remember(self, region: Region, sums: Sums) -> None:
        for store in self._stores:
            store.remember(key_of(self._name, region), [part.tolist() for part in sums])


class OneEach(Kept):
    """A sum for each target, in its own store."""

    def recall(self, region: Region) -> Sums | None:
        every = [self._recalled(store, region) for store in self._stores]
        found = [one for one in every if one is not None]
        return [own for one in found for own in one] if len(found) == len(every) else None

    def remember(self, region: Region, sums: Sums) -> None:
        each = [[own.tolist()] for own in sums] or [[] for _ in self._stores]  # a region may have no share
        for store, own in zip(self._stores, each, strict=True):
            store.remember(key_of(self._name, region), own)


def key_of(name: str, region: Region) -> str:
    """Under which the store keeps what is known of a region."""
    return f"{name} {region.row} {region.column}"
