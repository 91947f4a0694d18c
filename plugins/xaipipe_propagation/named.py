"""Rules and composites by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xaipipe.propagation import Rule
from xaipipe_propagation.rules import AlphaBeta, Bounds, Contributions, Epsilon, Flat, Gamma, Pass, WSquare, ZBox


@dataclass(frozen=True, eq=False)
class Settings:
    """The numbers that rules take, where nothing else is said."""

    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    bounds: Bounds | None = None


@dataclass(frozen=True)
class NamedRule:
    make: Callable[[Settings], Rule]
    takes: frozenset[str]
    """Which settings it looks at."""


def _named(make: Callable[[Settings], Rule], *takes: str) -> NamedRule:
    return NamedRule(make, frozenset(takes))


def _box(settings: Settings) -> Rule:
    assert settings.bounds is not None
    return ZBox(settings.bounds, settings.epsilon)


RULES = {
    "zero": _named(lambda settings: Epsilon(0.0)),
    "epsilon": _named(lambda settings: Epsilon(settings.epsilon), "epsilon"),
    "gamma": _named(lambda settings: Gamma(settings.gamma, settings.epsilon), "gamma", "epsilon"),
    "alpha_beta": _named(
        lambda settings: AlphaBeta(settings.alpha, settings.alpha - 1, settings.epsilon), "alpha", "epsilon"
    ),
    "z_plus": _named(lambda settings: AlphaBeta(1.0, 0.0, settings.epsilon), "epsilon"),
    "z_box": _named(_box, "low", "high", "epsilon"),
    "w_square": _named(lambda settings: WSquare(settings.epsilon), "epsilon"),
    "flat": _named(lambda settings: Flat()),
    "pass": _named(lambda settings: Pass()),
    "norm": _named(lambda settings: Contributions(settings.epsilon), "epsilon"),
}
OF_NORMS = ("norm", "pass")
"""Those that norms may have, which weigh nothing."""


@dataclass(frozen=True)
class Recipe:
    """A composite by the names of its rules."""

    convolution: str
    linear: str
    first: str | None = None
    elsewhere: str = "epsilon"
    """'zero' for sums, poolings and norms without a stabiliser either."""


COMPOSITES = {
    "zero": Recipe("zero", "zero", elsewhere="zero"),
    "epsilon": Recipe("epsilon", "epsilon"),
    "epsilon_plus": Recipe("z_plus", "epsilon"),
    "epsilon_plus_flat": Recipe("z_plus", "epsilon", first="flat"),
    "epsilon_alpha2_beta1": Recipe("alpha_beta", "epsilon"),
    "epsilon_alpha2_beta1_flat": Recipe("alpha_beta", "epsilon", first="flat"),
    "epsilon_gamma": Recipe("gamma", "epsilon"),
    "epsilon_gamma_box": Recipe("gamma", "epsilon", first="z_box"),
    "excitation_backprop": Recipe("z_plus", "z_plus"),
}
