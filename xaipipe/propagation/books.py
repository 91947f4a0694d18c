"""What rules keep to themselves on the way back: the share of biases and of stabilisers."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Absorber = Literal["bias", "stabiliser"]
ABSORBERS: tuple[Absorber, ...] = ("bias", "stabiliser")


class Books:
    """The amounts that one operator absorbed, per target and image."""

    def __init__(self, images: int) -> None:
        self.images = images
        self.amounts: dict[Absorber, Tensor] = {}

    def absorb(self, absorber: Absorber, values: Tensor) -> None:
        """Enter what is kept of each element [K, N·…, …]."""
        if values.shape[1] % self.images == 0:
            self.enter(absorber, values.reshape(len(values), self.images, -1).sum(dim=2))
        else:  # images do not come first: their sum is right, and that is all
            self.enter(absorber, (values.flatten(1).sum(dim=1) / self.images)[:, None].expand(-1, self.images))

    def enter(self, absorber: Absorber, amounts: Tensor) -> None:
        """Enter amounts [K, N]."""
        before = self.amounts.get(absorber)
        self.amounts[absorber] = amounts if before is None else before + amounts
