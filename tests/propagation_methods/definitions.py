"""LRP's rules written down from their formulas, in numpy and float64, on the matrix of all contributions.

A layer that is linear in its input, but for a bias, is W [inputs, outputs] and b [outputs]; both are found by pushing
unit vectors through it. With z_ij = x_i W_ij every rule hands input i the sum over j of c_ij / (Σ_i' c_i'j + …) · R_j.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One image's way through one layer."""

    x: Array
    weight: Array
    """[inputs, outputs]"""
    bias: Array
    seen: Array
    """[inputs, outputs]: 1 where an output looks at an input, whatever the weight."""
    relevance: Array
    """[outputs]"""

    @property
    def contributions(self) -> Array:
        return self.x[:, None] * self.weight

    @property
    def z(self) -> Array:
        return self.contributions.sum(axis=0) + self.bias


def case_of(layer: Callable[[Tensor], Tensor], seen: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor) -> Case:
    """Of one image [1, …]; `seen` is the layer with weights of one and no bias."""
    units = torch.eye(x.numel(), dtype=torch.float64).reshape(-1, *x.shape[1:])
    with torch.no_grad():
        bias = layer(torch.zeros_like(x)).reshape(-1)
        weight = layer(units).reshape(len(units), -1) - bias
        looked_at = (seen(units).reshape(len(units), -1) != 0).double()
    return Case(
        *(
            t.reshape(t.shape if t.ndim == 2 and len(t) > 1 else -1).numpy()
            for t in (
                x.reshape(-1),
                weight.reshape(len(units), -1),
                bias,
                looked_at.reshape(len(units), -1),
                relevance.reshape(-1),
            )
        )
    )


def sign(z: Array) -> Array:
    """Of 0 and of −0.0 it is +1."""
    return np.where(z < 0, -1.0, 1.0)


def shared_out(contributions: Array, total: Array, relevance: Array, eps: float) -> Array:
    """Σ_j c_ij / (total_j + eps · sign) · R_j, where 0 / 0 is 0."""
    denominator = total + eps * sign(total)
    quotient = np.divide(relevance, denominator, out=np.zeros_like(denominator), where=denominator != 0)
    return np.asarray(contributions @ quotient)


def epsilon(case: Case, eps: float) -> Array:
    return shared_out(case.contributions, case.z, case.relevance, eps)


def zero(case: Case) -> Array:
    return epsilon(case, 0.0)


def gamma(case: Case, gamma: float, eps: float) -> Array:
    """Contributions, and the bias, of the output's own sign count 1 + γ times."""
    own = sign(case.z)

    def raised(parts: Array) -> Array:
        return parts + gamma * np.where(parts * own > 0, parts, 0.0)

    contributions, bias = raised(case.contributions), raised(case.bias)
    return shared_out(contributions, contributions.sum(axis=0) + bias, case.relevance, eps)


def alpha_beta(case: Case, alpha: float, eps: float) -> Array:
    positive, negative = np.maximum(case.contributions, 0), np.minimum(case.contributions, 0)
    z_plus, z_minus = positive.sum(axis=0) + np.maximum(case.bias, 0), negative.sum(axis=0) + np.minimum(case.bias, 0)
    gained = shared_out(positive, z_plus, alpha * case.relevance, eps)
    denominator = z_minus - eps
    quotient = np.divide(
        (1 - alpha) * case.relevance, denominator, out=np.zeros_like(denominator), where=denominator != 0
    )
    return gained + np.asarray(negative @ quotient)


def z_plus(case: Case, eps: float) -> Array:
    return alpha_beta(case, 1.0, eps)


def z_box(case: Case, low: Array, high: Array, eps: float) -> Array:
    """z_ij = x_i w_ij − l_i w⁺_ij − h_i w⁻_ij"""
    positive, negative = np.maximum(case.weight, 0), np.minimum(case.weight, 0)
    contributions = case.contributions - low[:, None] * positive - high[:, None] * negative
    return shared_out(contributions, contributions.sum(axis=0), case.relevance, eps)


def w_square(case: Case, eps: float) -> Array:
    squared = case.weight**2
    return shared_out(squared, squared.sum(axis=0), case.relevance, eps)


def flat(case: Case) -> Array:
    return shared_out(case.seen, case.seen.sum(axis=0), case.relevance, 0.0)


def handed_on(case: Case) -> Array:
    return case.relevance
