"""Composites as a user writes them down: a base by its name, and rules by kind, by layer and by place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator

from xaipipe.errors import UsageError, did_you_mean
from xaipipe.params import Params
from xaipipe.propagation import Rule
from xaipipe_propagation.composites import Composite, around
from xaipipe_propagation.named import COMPOSITES, OF_NORMS, RULES, Settings


class RuleTable(Params):
    """A rule, with settings of its own."""

    rule: str = Field(description="its name")
    epsilon: float | None = Field(None, ge=0, description="stabiliser")
    gamma: float | None = Field(None, ge=0, description="how much more an output's own sign counts")
    alpha: float | None = Field(None, ge=1, description="weight of positive contributions; beta is alpha - 1")

    @field_validator("rule")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return known_rule(name)


class LayerTable(RuleTable):
    """A rule for the weighted layers whose dotted names match a pattern."""

    pattern: str = Field(description="such as 'features.0' or 'layer4.*'")


class CompositeTable(Params):
    """A composite of one's own."""

    base: str = Field("epsilon_plus", description="the composite that it starts from")
    convolution: str | RuleTable | None = Field(None, description="rule of convolutions")
    linear: str | RuleTable | None = Field(None, description="rule of linear layers and products with constants")
    norm: str | RuleTable | None = Field(None, description="rule of norms by statistics of their input: norm or pass")
    first: str | RuleTable | None = Field(None, description="rule of the weighted layers that see the input itself")
    last: str | RuleTable | None = Field(None, description="rule of the last weighted layers")
    layers: list[LayerTable] = Field([], description="rules by the names of layers; the first that matches counts")

    @field_validator("base")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return known_composite(name)

    @field_validator("convolution", "linear", "norm", "first", "last")
    @classmethod
    def _are_known(cls, rule: str | RuleTable | None) -> str | RuleTable | None:
        return known_rule(rule) if isinstance(rule, str) else rule

    @field_validator("norm")
    @classmethod
    def _has_no_weights(cls, rule: str | RuleTable | None) -> str | RuleTable | None:
        name = rule.rule if isinstance(rule, RuleTable) else rule
        if name not in (None, *OF_NORMS):
            raise ValueError(f"rule '{name}' is for weighted layers, norms take {' or '.join(OF_NORMS)}")
        return rule


@dataclass(frozen=True)
class Chosen:
    """A composite by the rules it is made of, before the settings are known."""

    convolution: RuleTable
    linear: RuleTable
    norm: RuleTable | None
    first: RuleTable | None
    last: RuleTable | None
    layers: tuple[LayerTable, ...]
    elsewhere: str

    @classmethod
    def of(cls, composite: str | CompositeTable) -> Chosen:
        table = CompositeTable(base=composite) if isinstance(composite, str) else composite
        base = COMPOSITES[table.base]
        return cls(
            _spec(table.convolution or base.convolution),
            _spec(table.linear or base.linear),
            _spec(table.norm) if table.norm else None,
            _spec(table.first or base.first) if table.first or base.first else None,
            _spec(table.last) if table.last else None,
            tuple(table.layers),
            base.elsewhere,
        )

    def rules(self) -> Iterator[RuleTable]:
        yield from (self.convolution, self.linear, *self.layers)
        yield from (rule for rule in (self.norm, self.first, self.last) if rule is not None)

    def takes(self) -> set[str]:
        """The settings that make a difference."""
        taken = {name for rule in self.rules() for name in RULES[rule.rule].takes if getattr(rule, name, None) is None}
        return taken | ({"epsilon"} if self.elsewhere == "epsilon" else set())

    def composite(self, settings: Settings, gates: bool = True) -> Composite:
        def made(rule: RuleTable | None) -> Rule | None:
            return None if rule is None else _made(rule, settings)

        kinds = around(settings.epsilon if self.elsewhere == "epsilon" else 0.0, gates)
        kinds |= {"convolution": _made(self.convolution, settings), "linear": _made(self.linear, settings)}
        if self.norm is not None:
            kinds["norm"] = _made(self.norm, settings)
        layers = tuple((layer.pattern, _made(layer, settings)) for layer in self.layers)
        return Composite(kinds, layers, made(self.first), made(self.last))


def known_rule(name: str) -> str:
    if name not in RULES:
        raise ValueError(f"unknown rule '{name}': {did_you_mean(name, RULES)}")
    return name


def known_composite(name: str) -> str:
    if name not in COMPOSITES:
        raise ValueError(f"unknown composite '{name}': {did_you_mean(name, COMPOSITES)}")
    return name


def _spec(rule: str | RuleTable | None) -> RuleTable:
    assert rule is not None
    return RuleTable(rule=rule) if isinstance(rule, str) else rule


def _made(rule: RuleTable, settings: Settings) -> Rule:
    named = RULES[rule.rule]
    own: dict[str, Any] = {}
    for name in ("epsilon", "gamma", "alpha"):
        value = getattr(rule, name)
        if value is None:
            value = getattr(settings, name)
        elif name not in named.takes:
            raise UsageError(
                f"rule '{rule.rule}' takes no {name}", expected=", ".join(sorted(named.takes)) or "nothing"
            )
        own[name] = value
    return named.make(Settings(**own, bounds=settings.bounds))
