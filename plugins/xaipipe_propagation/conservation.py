"""Where a score's relevance went, and a warning where some of it is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaipipe import Batch
from xaipipe.doubts import doubt, named
from xaipipe.propagation import Pulled
from xaipipe.propagation.audit import Audit
from xaipipe.propagation.books import ABSORBERS
from xaipipe.propagation.ledger import Absorbed

BOUNDS = {torch.float64: 1e-8, torch.float32: 1e-3}
"""How much may be missing, as a share of all amounts that were moved."""
COARSE = 1e-1
"""The same for the half precisions."""
_LOST = ABSORBERS.index("lost")


@dataclass(frozen=True, eq=False)
class Balance:
    """Begun = arrived + absorbed + residual, per image."""

    begun: Tensor
    arrived: Tensor
    absorbed: Tensor
    """[absorbers, N]"""
    moved: Tensor
    """The amounts without their signs: how much a residual may come from rounding alone."""
    of_the_batch: bool
    """Whether some layer has no dimension of images in front, so that only the batch's sums are known."""

    @classmethod
    def of(cls, pulled: Pulled) -> Balance:
        values = _wide(pulled.values).reshape(len(pulled.values), -1)
        begun, arrived = _wide(pulled.begun), values.sum(dim=1)
        amounts = _stacked(pulled.absorbed, begun)
        moved = begun.abs() + values.abs().sum(dim=1) + amounts.abs().sum(dim=(0, 1))
        balance = cls(begun, arrived, amounts.sum(dim=0).to(begun), moved, of_the_batch=False)
        if float(balance.missing.max()) > BOUNDS.get(pulled.values.dtype, COARSE) >= balance.missing_of_all:
            mean = balance.absorbed.mean(dim=1, keepdim=True).expand_as(balance.absorbed)
            return cls(begun, arrived, mean, moved, of_the_batch=True)
        return balance

    @property
    def residual(self) -> Tensor:
        residual = self.begun - self.arrived - self.absorbed.sum(dim=0)
        return residual.mean().expand_as(residual) if self.of_the_batch else residual

    @property
    def missing(self) -> Tensor:
        """The residual of each image, as a share of what was moved."""
        return self.residual.abs() / self._scale(self.moved)

    @property
    def missing_of_all(self) -> float:
        """The batch's residual, as a share of what was moved."""
        return float(self.residual.sum().abs() / self._scale(self.moved.sum()))

    def _scale(self, moved: Tensor) -> Tensor:
        return moved.clamp_min(torch.finfo(moved.dtype).tiny)

    def diagnostics(self, complete: bool) -> dict[str, Any]:
        """What a result says about it; where only a part of the way was looked at, the rest went elsewhere."""
        found: dict[str, Any] = {"begun": self.begun.tolist(), "arrived": self.arrived.tolist()}
        for row, absorber in enumerate(ABSORBERS[:_LOST]):
            found[absorber] = self.absorbed[row].tolist()
        found["residual" if complete else "elsewhere"] = self.residual.tolist()
        if self.of_the_batch:
            found["absorbed_by"] = "the batch: images come first in not all layers, so these are means"
        return found


def warn_of_losses(method: str, batch: Batch, pulled: Pulled, again: Callable[[], tuple[Pulled, Audit]]) -> None:
    """Warn where more is missing than rounding explains, and name the operator where it was lost.

    `again` runs the same once more with every operator watched.
    """
    missing = Balance.of(pulled).missing
    bound = BOUNDS.get(pulled.values.dtype, COARSE)
    if bool((missing <= bound).all()) or not bool(pulled.values.isfinite().all()):  # which is refused anyway
        return
    watched, audit = again()
    worst = max(watched.absorbed, key=_lost)
    if audit.precisions.get(id(worst.operation)) in (torch.half, torch.bfloat16):
        bound = COARSE

    def text(image: int) -> str:
        return (
            f"{method}: the relevance does not add up to the score\n"
            f"  got: {float(missing[image]):.2g} of all that was handed back is missing, of {named(batch, image)}\n"
            f"  expected: at most {bound:g}\n"
            f"  where: {_place(worst, watched)}\n"
            f"  next: do not rely on this map; give the operator a rule that conserves (xaipipe.propagation.register)"
        )

    excess = (missing.double() - bound).tolist()
    doubt(f"{method}: relevance is lost", batch, excess, text, pulled.selection.targets)


def _place(worst: Absorbed, watched: Pulled) -> str:
    share = _lost(worst) / max(sum(map(_lost, watched.absorbed)), torch.finfo(torch.float32).tiny)
    if share == 0:
        return "no single operator; values are moved by an operator that drops some"
    return f"{worst.operation} ({worst.operation.kind}), {share:.0%} of what operators lost"


def _lost(part: Absorbed) -> float:
    return float(part.amounts[_LOST].sum().abs())


def _stacked(absorbed: tuple[Absorbed, ...], like: Tensor) -> Tensor:
    """[operations, absorbers, N]"""
    if not absorbed:
        return like.new_zeros(1, len(ABSORBERS), len(like))
    return torch.stack([part.amounts.to(like) for part in absorbed])


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
