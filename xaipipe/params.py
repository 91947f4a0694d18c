"""A method's parameters: one pydantic model, from which everything else about them follows."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema

from xaipipe.errors import UsageError, did_you_mean

_LONGEST = 200
"""Characters of a value that a message repeats."""


class Params(BaseModel):
    """Base of every stage's parameters: typed fields, each with a range and a one-line description."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, validate_default=True, allow_inf_nan=False
    )

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str, registry: Any = None) -> Self:
        """Validated parameters, or a worded error that names the key, what was got and what was expected.

        Methods inside the parameters are looked up in the registry; unset: what is installed.
        """
        try:
            return cls.model_validate(dict(values), context=registry)
        except ValidationError as error:
            raise usage_error(cls, error, where) from None


@dataclass(frozen=True)
class ParamRow:
    """One parameter as tables, help texts and the documentation show it."""

    name: str
    type: str
    default: str
    range: str
    description: str


def rows(params: type[BaseModel]) -> list[ParamRow]:
    """The parameters of a model, in the order in which they were written."""
    schema = schema_of(params).get("properties", {})
    return [
        ParamRow(
            name=name,
            type=_type_name(schema.get(name, {})),
            default="required" if info.is_required() else str(info.get_default(call_default_factory=True)),
            range=_range_text(info),
            description=info.description or "",
        )
        for name, info in params.model_fields.items()
    ]


def schema_of(params: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema; a parameter that only Python can give is `{}` in it, which is anything."""
    return params.model_json_schema(schema_generator=_Schema)


def usage_error(params: type[BaseModel], error: ValidationError, where: str) -> UsageError:
    """The first thing that is wrong, in our words."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        return UsageError(f"unknown parameter '{name}'", where=where, hint=did_you_mean(name, params.model_fields))
    if first["type"] == "missing":
        return UsageError(f"parameter '{key}' is required", where=where, hint=f"set {key} = …")
    return UsageError(
        f"parameter '{key}' has a value that it cannot take" if key else "the parameters do not fit together",
        got=textwrap.shorten(repr(first["input"]), _LONGEST),
        expected=first["msg"].removeprefix("Value error, "),
        where=where,
    )


def toml_value(text: str) -> Any:
    """A value as TOML would read it; a bare word is a string, so that nobody has to quote twice."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


class _Schema(GenerateJsonSchema):
    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> JsonSchemaValue:
        return {}


def _type_name(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " | ".join(_type_name(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    return str(schema.get("type", "any"))


def _range_text(info: FieldInfo) -> str:
    signs = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
    bounds = []
    for constraint in info.metadata:
        for kind, (sign, attribute) in signs.items():
            if isinstance(constraint, kind):
                bounds.append(f"{sign} {getattr(constraint, attribute)}")
    return ", ".join(bounds)
