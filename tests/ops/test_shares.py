"""The rules that the kernels are parts of, against their definitions, contribution by contribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from xaipipe.ops import (
    alpha_beta_shares,
    gamma_shares,
    multiply_combine,
    residual_shares,
    stabilised_divide,
)

EPS = 1e-12


def layer(seed: int, inputs: int = 12, outputs: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """(x >= 0, weights, relevance of the outputs) in float64."""
    random = np.random.default_rng(seed)
    x = np.maximum(random.normal(size=inputs), 0)
    weights = random.normal(size=(outputs, inputs))
    return torch.tensor(x), torch.tensor(weights), torch.tensor(random.normal(size=outputs))


def contributions(x: Tensor, weights: Tensor) -> np.ndarray:
    """z_ij of input j to output i."""
    return (weights * x).numpy()


def shared_out(parts: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """Each output's relevance by parts of their sum, one after another; nothing where there are none."""
    received = np.zeros(parts.shape[1])
    for output, total in enumerate(parts.sum(axis=1)):
        for one in range(parts.shape[1]):
            if total != 0:
                received[one] += parts[output, one] / total * relevance[output]
    return received


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 1.0), (1.0, 0.0), (1.5, 0.5)])
def test_alpha_beta_rule(alpha: float, beta: float) -> None:
    x, weights, relevance = layer(1)
    z, z_plus = weights @ x, weights.clamp(min=0) @ x
    s_plus, s_minus = alpha_beta_shares(relevance, z, z_plus, alpha, beta, EPS)
    got = multiply_combine(x, weights.clamp(min=0).T @ s_plus, weights.clamp(max=0).T @ s_minus, 1.0, -1.0)
    parts = contributions(x, weights)
    expected = shared_out(np.maximum(parts, 0), alpha * relevance.numpy())
    expected -= shared_out(np.minimum(parts, 0), beta * relevance.numpy())
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.25, 100.0])
def test_gamma_rule_for_outputs_of_either_sign(gamma: float) -> None:
    x, weights, relevance = layer(2)
    z, z_plus = weights @ x, weights.clamp(min=0) @ x
    s_w, s_plus = gamma_shares(relevance, z, z_plus, gamma, EPS)
    got = multiply_combine(x, weights.T @ s_w, weights.clamp(min=0).T @ s_plus, 1.0, 1.0)
    parts = contributions(x, weights)
    favoured = np.where((parts.sum(axis=1) >= 0)[:, None], np.maximum(parts, 0), np.minimum(parts, 0))
    assert len(set(np.sign(parts.sum(axis=1)))) == 2
    expected = shared_out(parts + gamma * favoured, relevance.numpy())
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-8, atol=1e-9)


def test_residual_rule_conserves() -> None:
    a, _, relevance = layer(3, outputs=12)
    b = layer(4)[0] + 1
    r_a, r_b = residual_shares(relevance, a, b, EPS)
    np.testing.assert_allclose((r_a + r_b).numpy(), relevance.numpy(), rtol=1e-8)
    np.testing.assert_allclose(r_a.numpy(), (relevance * a / (a + b)).numpy(), rtol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_is_never_taken_for_negative_contributions(dtype: torch.dtype) -> None:
    """Negative weights scaled down to nothing: what is handed back along them stays near beta times the relevance.

    csrc/lrp/alpha_beta_shares.h states what was measured with and without the floor.
    """
    torch.manual_seed(0)
    x = torch.randn(1, 64, 28, 28).relu().to(dtype)
    drawn = torch.randn(64, 64, 1, 1) / 8
    most, most_without_floor = 0.0, 0.0
    for halvings in range(0, 24, 3):
        weights = torch.where(drawn < 0, drawn * 2.0**-halvings, drawn).to(dtype)
        z, z_plus = (torch.nn.functional.conv2d(x, w) for w in (weights, weights.clamp(min=0)))
        true_z_minus = torch.nn.functional.conv2d(x.double(), weights.double().clamp(max=0))
        there = true_z_minus < 0
        _, s_minus = alpha_beta_shares(torch.ones_like(z), z, z_plus, 2.0, 1.0, 1e-12)
        most = max(most, (s_minus.double() * true_z_minus)[there].max().item())
        plain = stabilised_divide(torch.ones_like(z), (z - z_plus).clamp(max=0), 1e-12)
        most_without_floor = max(most_without_floor, (plain.double() * true_z_minus).abs()[there].max().item())
    assert most < 1.2
    assert most_without_floor > 1e4


def test_an_output_without_contributions_hands_back_what_the_stabiliser_lets_through() -> None:
    zero, one = torch.zeros(1), torch.ones(1)
    assert [share.item() for share in alpha_beta_shares(one, zero, zero, 2.0, 1.0, 0.5)] == [4.0, -2.0]
    assert [share.item() for share in gamma_shares(one, zero, zero, 0.25, 0.5)] == [2.0, 0.5]
    assert [share.item() for share in residual_shares(one, zero, -zero, 0.5)] == [0.0, -0.0]


def test_more_positive_than_all_contributions_counts_as_no_negative_ones() -> None:
    one = torch.ones(1)
    _, s_minus = alpha_beta_shares(one, 3 * one, 2 * one, 2.0, 1.0, 0.0)
    assert s_minus.item() == -(2.0**20)
