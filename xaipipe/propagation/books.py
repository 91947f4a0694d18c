"""What rules keep to themselves on the way back: the share of biases and of stabilisers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Absorber = Literal["bias", "stabiliser", "lost"]
ABSORBERS: tuple[Absorber, ...] = ("bias", "stabiliser", "lost")
"""The last one is what a rule cannot account for; it is looked for only where a sum does not come out."""


class Books:
    """The amounts that one operator absorbed, per target and image."""

    def __init__(self, images: int) -> None:
        self.images = images
        self.amounts: dict[Absorber, Tensor] = {}

    def absorb(self, absorber: Absorber, values: Tensor, factor: float = 1) -> None:
        """Enter what is kept of each element [K, N·…, …]."""
        if values.shape[1] % self.images == 0:
            amounts = values.reshape(len(values), self.images, -1).sum(dim=2)
        else:  # images do not come first: their sum is right, and that is all
            amounts = self._spread(values.flatten(1).sum(dim=1))
        self._enter(absorber, amounts if factor == 1 else factor * amounts)

    def give_back(self, absorber: Absorber, shares: Tensor, z: Tensor) -> None:
        """Take out again what was handed on: Σ shares · z, [K, *z] and [N·…, …]."""
        if z.shape[0] % self.images == 0:
            images = z.reshape(self.images, -1)
            amounts = torch.einsum("knl,nl->kn", shares.reshape(len(shares), *images.shape), images)
        else:
            amounts = self._spread(torch.einsum("kl,l->k", shares.flatten(1), z.flatten()))
        self._enter(absorber, -amounts)

    def _spread(self, totals: Tensor) -> Tensor:
        return (totals / self.images)[:, None].expand(-1, self.images)

    def _enter(self, absorber: Absorber, amounts: Tensor) -> None:
        before = self.amounts.get(absorber)
        self.amounts[absorber] = amounts if before is None else before + amounts
