"""Softmax and its logarithm, and the logarithm of a sum of exponentials."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe_propagation.compared.rule import DifferenceRule, Met, difference


class LogarithmicMean(DifferenceRule):
    """The softmax's gradient, at the logarithmic means L of the probabilities of image and reference.

    By the definition of that mean, Δp_i = L_i Δ(log p_i) = L_i (Δz_i − Δlog Σ exp z). Since Σ Δp = 0, the last term is
    Σ L Δz / Σ L. So Δp_i = L_i (Δz_i − Σ L Δz / Σ L), exactly, whatever is added to all logits.
    """

    def multipliers(self, met: Met, arriving: Tensor) -> Sequence[Tensor]:
        op = met.op
        assert op.dimension is not None
        (z,), (z_there,) = met.here, met.there
        means = _logarithmic_means(z.log_softmax(op.dimension), z_there.log_softmax(op.dimension))
        shares = means / means.sum(dim=op.dimension, keepdim=True)
        dimension = op.dimension % z.ndim + 1
        if op.name == "log_softmax":
            arrived = arriving - shares * arriving.sum(dim=dimension, keepdim=True)
        else:
            arrived = means * (arriving - (shares * arriving).sum(dim=dimension, keepdim=True))
        return (arrived.to(z.dtype),)


class LogarithmicShares(DifferenceRule):
    """Δ log Σ exp z = Σ L Δz / Σ L, of the same means: what was said there of the last term."""

    def multipliers(self, met: Met, arriving: Tensor) -> Sequence[Tensor]:
        dimensions = met.op.dimensions
        z, z_there = met.here[0], met.there[0]
        total, total_there = (each.logsumexp(dimensions, keepdim=True) for each in (z, z_there))
        means = _logarithmic_means(z - total, z_there - total_there)
        shares = means / means.sum(dim=dimensions, keepdim=True)
        return (arriving.reshape(len(arriving), *total.shape) * shares,)


def _logarithmic_means(p: Tensor, p_there: Tensor) -> Tensor:
    """(p − p') / (log p − log p') of logarithms of probabilities, which is p where they are the same."""
    apart = difference(p, p_there).abs()
    shrunk = -torch.expm1(-apart) / torch.where(apart == 0, torch.ones_like(apart), apart)
    return torch.maximum(p, p_there).exp() * torch.where(apart == 0, torch.ones_like(apart), shrunk)
