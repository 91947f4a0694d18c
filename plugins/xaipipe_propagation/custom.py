"""Composites as a user writes them down: a base by its name, and rules by kind, by layer and by place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from xaipipe.errors import UsageError, did_you_mean
from xaipipe.params import Params
from xaipipe.propagation import Rule
from xaipipe_propagation.composites import Composite, around
from xaipipe_propagation.named import COMPOSITES, OF_NORMS, RULES, NamedRule, Recipe, Settings


class RuleTable(Params):
    """A rule, with settings of its own."""

    rule: str = Field(description="its name")
    epsilon: float | None = Field(None, ge=0, description="stabiliser")
    gamma: float | None = Field(None, ge=0, description="how much more an output's own sign counts")
    alpha: float | None = Field(None, ge=1, description="weight of positive contributions; beta is alpha - 1")

    @model_validator(mode="after")
    def _takes_its_settings(self) -> Self:
        takes = known_rule(self.rule).takes
        for name in ("epsilon", "gamma", "alpha"):
            if getattr(self, name) is not None and name not in takes:
                raise UsageError(f"rule '{self.rule}' takes no {name}", expected=", ".join(sorted(takes)) or "nothing")
        return self


class LayerTable(RuleTable):
    """A rule for the weighted layers whose dotted names match a pattern."""

    pattern: str = Field(description="such as 'features.0' or 'layer4.*'")


def _rule(value: Any) -> Any:
    return RuleTable.parse({"rule": value} if isinstance(value, str) else value, "a rule of the composite")


def _rule_of_norms(value: Any) -> Any:
    table = _rule(value)
    if table.rule not in OF_NORMS:
        raise UsageError(
            f"rule '{table.rule}' is for layers with weights", expected=" or ".join(OF_NORMS), where="norm"
        )
    return table


Choice = Annotated[RuleTable, BeforeValidator(_rule)]
"""A rule by its name, or a table with its settings."""


class CompositeTable(Params):
    """A composite of one's own."""

    base: str = Field("epsilon_plus", description="the composite that it starts from")
    convolution: Choice | None = Field(None, description="rule of convolutions")
    linear: Choice | None = Field(None, description="rule of linear layers and products with constants")
    norm: Annotated[RuleTable, BeforeValidator(_rule_of_norms)] | None = Field(
        None, description="rule of norms by statistics of their input: norm or pass"
    )
    first: Choice | None = Field(None, description="rule of the weighted layers that see the input itself")
    last: Choice | None = Field(None, description="rule of the last weighted layers")
    layers: list[LayerTable] = Field([], description="rules by the names of layers; the first that matches counts")

    @field_validator("base")
    @classmethod
    def _is_known(cls, name: str) -> str:
        known_composite(name)
        return name


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
        base = known_composite(table.base)
        return cls(
            table.convolution or RuleTable(rule=base.convolution),
            table.linear or RuleTable(rule=base.linear),
            table.norm,
            table.first or (RuleTable(rule=base.first) if base.first else None),
            table.last,
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


def known_rule(name: str) -> NamedRule:
    if name not in RULES:
        raise UsageError(f"unknown rule '{name}'", hint=did_you_mean(name, RULES))
    return RULES[name]


def known_composite(name: str) -> Recipe:
    if name not in COMPOSITES:
        raise UsageError(f"unknown composite '{name}'", hint=did_you_mean(name, COMPOSITES))
    return COMPOSITES[name]


def _made(rule: RuleTable, settings: Settings) -> Rule:
    own: dict[str, Any] = {}
    for name in ("epsilon", "gamma", "alpha"):
        value = getattr(rule, name)
        own[name] = getattr(settings, name) if value is None else value
    return RULES[rule.rule].make(Settings(**own, bounds=settings.bounds))
