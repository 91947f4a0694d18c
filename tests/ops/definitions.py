"""What the elementwise ops are, in numpy: one operation after another in the type computed in, as their headers say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ops.numbers import COMPUTED_IN, from_numpy, numbers, to_numpy
from xaipipe import ops

FLOORS = {torch.float32: 2.0**-21, torch.float64: 2.0**-50, torch.bfloat16: 2.0**-7}


def stab(z: Any, eps: Any) -> Any:
    return z + np.where(z < 0, -eps, eps)


def stabilised_divide(dtype: torch.dtype, relevance: Any, z: Any, eps: Any) -> tuple[Any, ...]:
    return (relevance / stab(z, eps),)


def alpha_beta_shares(
    dtype: torch.dtype, relevance: Any, z: Any, z_plus: Any, alpha: Any, beta: Any, eps: Any
) -> tuple[Any, ...]:
    floor = COMPUTED_IN[dtype](FLOORS[dtype])
    z_minus = np.minimum(z - z_plus, COMPUTED_IN[dtype](0))
    return alpha * relevance / stab(z_plus, eps), beta * relevance / (z_minus - eps - floor * np.abs(z_plus))


def gamma_shares(dtype: torch.dtype, relevance: Any, z: Any, z_plus: Any, gamma: Any, eps: Any) -> tuple[Any, ...]:
    positive = relevance / stab(z + gamma * z_plus, eps)
    negative = relevance / stab(z + gamma * (z - z_plus), eps)
    one = COMPUTED_IN[dtype](1)
    return (
        np.where(z >= 0, positive, (one + gamma) * negative),
        np.where(z >= 0, gamma * positive, -gamma * negative),
    )


def multiply_combine(dtype: torch.dtype, x: Any, g1: Any, g2: Any, a: Any, b: Any) -> tuple[Any, ...]:
    return (x * (a * g1 + b * g2),)


def residual_shares(dtype: torch.dtype, relevance: Any, a: Any, b: Any, eps: Any) -> tuple[Any, ...]:
    share = relevance / stab(a + b, eps)
    return a * share, b * share


@dataclass(frozen=True)
class Op:
    formula: Callable[..., tuple[Any, ...]]
    repeated: tuple[bool, ...]
    """For each tensor, whether it may have axes for targets."""
    parameters: tuple[tuple[float, ...], ...]
    """Some to try."""

    @property
    def name(self) -> str:
        return self.formula.__name__

    def __call__(self, *arguments: Any) -> tuple[Tensor, ...]:
        results = getattr(ops, self.name)(*arguments)
        return results if isinstance(results, tuple) else (results,)

    def expected(self, *arguments: Any) -> tuple[Tensor, ...]:
        tensors, parameters = arguments[: len(self.repeated)], arguments[len(self.repeated) :]
        dtype = tensors[0].dtype
        with np.errstate(all="ignore"):
            rounded = [COMPUTED_IN[dtype](parameter) for parameter in parameters]
            results = self.formula(dtype, *map(to_numpy, tensors), *rounded)
        return tuple(from_numpy(result, dtype) for result in results)

    def operands(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        seed: int,
        targets: tuple[int, ...] = (),
        draw: Callable[..., Tensor] = numbers,
    ) -> list[Tensor]:
        shapes = [(*targets, *shape) if repeated else shape for repeated in self.repeated]
        return [draw(of, dtype, seed + index) for index, of in enumerate(shapes)]


OPS = (
    Op(stabilised_divide, (True, False), ((0.0,), (1e-6,), (0.25,), (1e-45,), (1e30,))),
    Op(alpha_beta_shares, (True, False, False), ((2.0, 1.0, 1e-6), (1.0, 0.0, 0.0), (-0.3, 1e30, 0.25))),
    Op(gamma_shares, (True, False, False), ((0.25, 1e-6), (0.0, 0.0), (1e30, 0.25))),
    Op(multiply_combine, (False, True, True), ((1.0, -1.0), (0.3, 1e30))),
    Op(residual_shares, (True, False, False), ((0.0,), (1e-6,), (1e30,))),
)

every_op = pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
