"""Two smooth functions that stand in for a black box near one point, and their gradients there.

Points x are given by their displacement d from the image, so the image is at d = 0 and the samples at d_i; everything
is a sum over samples, whose coefficients c_i are returned: the gradient at the image is Σ c_i d_i. The kernel is
k(x, x') = exp(−‖x − x'‖² / 2ℓ²).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Fitted(NamedTuple):
    """A surrogate at the image: what it says there, and the coefficients of its gradient."""

    value: Tensor
    coefficients: Tensor
    """[S]"""


def gaussian_process(inner: Tensor, labels: Tensor, length: Tensor, noise: float) -> Fitted:
    """The mean of a Gaussian process around the labels' mean, k*ᵀ(K + Σ)⁻¹y; `inner` are the products dᵢ·dⱼ [S, S]."""
    near, solved = _solved(inner, labels - labels.mean(), length, noise)
    weighted = near * solved
    return Fitted(labels.mean() + weighted.sum(), weighted / length**2)


def variance(inner: Tensor, length: Tensor, noise: float) -> Fitted:
    """The variance of the Gaussian process, k(x, x) − k*ᵀ(K + Σ)⁻¹k*; its gradient is ∂k(x, x) − 2 k*ᵀ(K + Σ)⁻¹ ∂k*."""
    near = _kernel(inner.diagonal(), length)
    near, solved = _solved(inner, near, length, noise)
    return Fitted(1 - (near * solved).sum(), -2 * near * solved / length**2)


def parzen(inner: Tensor, labels: Tensor, length: Tensor) -> Fitted:
    """The labels' mean, weighted by the kernel: Σ kᵢyᵢ / Σ kᵢ."""
    shares = torch.softmax(-inner.diagonal() / (2 * length**2), dim=0)
    value = (shares * labels).sum()
    return Fitted(value, shares * (labels - value) / length**2)


def _solved(inner: Tensor, right: Tensor, length: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    squares = inner.diagonal()
    distances = squares[:, None] + squares[None, :] - 2 * inner
    covariance = _kernel(distances, length) + noise**2 * torch.eye(len(inner), dtype=inner.dtype, device=inner.device)
    return _kernel(squares, length), torch.cholesky_solve(right[:, None], torch.linalg.cholesky(covariance))[:, 0]


def _kernel(squares: Tensor, length: Tensor) -> Tensor:
    return torch.exp(-squares / (2 * length**2))
