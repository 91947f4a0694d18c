"""A method inside another one's parameters: `base = "saliency"`, or a table of the method and its own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from xaipipe.errors import UsageError
from xaipipe.params import Params
from xaipipe.stages import Explainer, ExplainerParams

_OUTER = frozenset(ExplainerParams.model_fields)


class Nested:
    """An explain method with its parameters, checked and ready to be built."""

    def __init__(self, method: type[Explainer], params: Params) -> None:
        self.method, self.params = method, params

    def build(self) -> Explainer:
        return self.method(self.params)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Nested) and (self.method, self.params) == (other.method, other.params)

    def __hash__(self) -> int:
        return hash(self.method)

    def __repr__(self) -> str:
        own = {name: value for name, value in self.params if name not in _OUTER}
        return repr({"method": self.method.name, **own})


def _parse(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, Nested):
        return value
    table = {"method": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not isinstance(table.get("method"), str):
        raise ValueError('the name of an explain method, or a table: { method = "NAME", and its parameters }')
    values = {name: own for name, own in table.items() if name != "method"}
    for name in values:
        if name in _OUTER:
            raise ValueError(f"a method without {name}, which is that of the method around it: leave it out there")
    try:
        return _found(table["method"], values, info.context)
    except UsageError as error:
        raise ValueError("; ".join([error.problem, *(str(fact) for fact in error.facts.values() if fact)])) from None


def _found(name: str, values: Mapping[str, Any], registry: Any) -> Nested:
    if registry is None:
        from xaipipe.api import installed

        registry = installed()
    method = registry.method("explain", name)
    return Nested(method, method.Params.parse(values, f"explain method '{name}'", registry))


NestedMethod = Annotated[Any, BeforeValidator(_parse), WithJsonSchema({"type": "string | table"})]
"""The name of an explain method, or a table with `method` and that method's parameters but for what is asked."""
