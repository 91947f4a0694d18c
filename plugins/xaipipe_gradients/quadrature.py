"""Points and weights by which an integral from 0 to 1 becomes a sum."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np

Name = Literal["gauss_legendre", "trapezoid", "riemann_left", "riemann_right", "riemann_middle"]
Nodes = tuple[tuple[float, ...], tuple[float, ...]]


@cache
def nodes(name: Name, steps: int) -> Nodes:
    """Where the function is evaluated, and what each value counts; the weights add up to 1."""
    places, weights = _MAKERS[name](steps)
    return tuple(places.tolist()), tuple(weights.tolist())


_Arrays = tuple[np.ndarray, np.ndarray]


def _gauss_legendre(steps: int) -> _Arrays:
    places, weights = np.polynomial.legendre.leggauss(steps)
    return (places + 1) / 2, weights / 2


def _trapezoid(steps: int) -> _Arrays:
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def _riemann(shift: float) -> Callable[[int], _Arrays]:
    """The middle, or an end, of each of the equal parts."""
    return lambda steps: ((np.arange(steps) + shift) / steps, np.full(steps, 1 / steps))


_MAKERS: dict[Name, Callable[[int], _Arrays]] = {
    "gauss_legendre": _gauss_legendre,
    "trapezoid": _trapezoid,
    "riemann_left": _riemann(0.0),
    "riemann_right": _riemann(1.0),
    "riemann_middle": _riemann(0.5),
}
