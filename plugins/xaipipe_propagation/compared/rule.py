"""What a rule for differences is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe.propagation import Operation


class DifferenceRule(ABC):
    """How multipliers get through an operator. Nothing of it is kept between calls."""

    @abstractmethod
    def multipliers(
        self, op: Operation, here: Sequence[Tensor], there: Sequence[Tensor], arriving: Tensor
    ) -> Sequence[Tensor]:
        """Of what arrives [K, *output], what each operand gets [K, *operand].

        `here` is what the operator read for the images, `there` what it read for their references.
        """


def difference(here: Tensor, there: Tensor) -> Tensor:
    """Exactly zero where both are the same infinity, as in masked attention."""
    return torch.where(here == there, torch.zeros_like(here), here - there)
