"""Which rule every operator of a network gets: composites, by kind, by layer and by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import Tensor

from xaipipe.errors import UsageError, did_you_mean
from xaipipe.propagation import Books, Operation, Rule, Weighted
from xaipipe.propagation.unknown import UnknownOperatorError
from xaipipe_propagation.rules import Contributions, Join, Pass, Scale, Softmax, SplitProduct, Sum

_BY_GRADIENT = {"max", "logsumexp"}
"""Kinds whose gradient hands relevance to those that won it, or to each by its share of the sum."""


@dataclass(frozen=True)
class Composite:
    """Rules by place (first, last), by a pattern for the names of layers, or by kind; the first that fits counts.

    Places and patterns speak of weighted layers: convolutions, linear layers, products with constants.
    """

    kinds: Mapping[str, Rule]
    layers: tuple[tuple[str, Rule], ...] = ()
    first: Rule | None = None
    last: Rule | None = None
    strict: bool = field(default=True, init=False)
    met: set[str] = field(default_factory=set, init=False)
    """The weighted layers that asked for a rule."""

    def rule_for(self, op: Operation) -> Rule | None:
        if isinstance(op, Weighted):
            self.met.add(op.layer)
            for pattern, rule in self.layers:
                if fnmatchcase(op.layer, pattern):
                    return rule
            if self.first is not None and op.place.first:
                return self.first
            rule = self.kinds[op.kind]
            return rule if self.last is None else _Last(self.last, rule)
        if op.kind in _BY_GRADIENT:
            return None
        if op.kind not in self.kinds:
            raise UnknownOperatorError(
                "this method has no rule for a kind of operator",
                got=f"{op}, registered as '{op.kind}'",
                expected=", ".join(sorted({*self.kinds, *_BY_GRADIENT})),
                hint="register it as one of these kinds",
            )
        return self.kinds[op.kind]

    def require_used(self) -> None:
        """After a pass: refuse patterns that no weighted layer has."""
        for pattern, _ in self.layers:
            if not any(fnmatchcase(layer, pattern) for layer in self.met):
                raise UsageError(
                    f"no weighted layer is called '{pattern}'",
                    expected=f"a pattern for some of: {', '.join(sorted(self.met))}",
                    hint=did_you_mean(pattern, self.met),
                )


def around(eps: float, gates: bool = True) -> dict[str, Rule]:
    """The rules of everything but weighted layers, which all composites share."""
    return {
        "activation": Pass(),
        "average": Contributions(eps),
        "statistic": Contributions(eps),
        "norm": Contributions(eps),
        "join": Join(),
        "scale": Scale(eps),
        "sum": Sum(eps),
        "product": SplitProduct(gates, eps),
        "matmul": SplitProduct(gates, eps),
        "softmax": Softmax(),
    }


@dataclass(frozen=True)
class _Last(Rule):
    """One rule for the last weighted layers, another for the others: which they are shows on the way back."""

    last: Rule
    other: Rule

    @property
    def skips_idle(self) -> bool:  # type: ignore[override]
        return self.last.skips_idle and self.other.skips_idle

    def keeps_idle(self, op: Operation) -> bool:
        return self.last.keeps_idle(op) and self.other.keeps_idle(op)

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor | None]:
        assert isinstance(op, Weighted)
        rule = self.last if op.place.last else self.other
        return rule.propagate(op, operands, output, arriving, books)
