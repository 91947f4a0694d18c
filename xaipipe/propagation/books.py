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
        if values.shape[1:] == (self.images,):
            amounts = values.clone()  # into what arrives, others may write before the books are read
        else:
            amounts = values.reshape(values.shape[0], self._parts(values.shape[1:]), -1).sum(dim=2)
        self.enter(absorber, amounts if factor == 1 else factor * amounts)

    def give_back(self, absorber: Absorber, shares: Tensor, z: Tensor) -> None:
        """Take out again what was handed on: Σ shares · z, [K, *z] and [N·…, …]."""
        images = z.reshape(self.parts_of(z), -1)
        self.enter(absorber, -torch.einsum("knl,nl->kn", shares.reshape(len(shares), *images.shape), images))

    def parts_of(self, z: Tensor) -> int:
        """Into how many parts a tensor [N·…, …] falls that can be told apart: images, where they come first."""
        return self._parts(z.shape)

    def _parts(self, shape: torch.Size) -> int:
        return self.images if shape and shape[0] % self.images == 0 else 1

    def enter(self, absorber: Absorber, amounts: Tensor) -> None:
        """Enter amounts [K, N], or [K, 1] of all images together: their sum is right then, and that is all.

        They are read when the way back is over; nobody writes there until then.
        """
        if amounts.shape[1] != self.images:
            amounts = (amounts / self.images).expand(-1, self.images)
        before = self.amounts.get(absorber)
        self.amounts[absorber] = amounts if before is None else before + amounts
