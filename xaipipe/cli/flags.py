"""A method's parameters as command line flags: `--layer features.18 --signed`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from xaipipe.errors import UsageError, did_you_mean
from xaipipe.params import toml_value

GLOBAL_HINT = "global options come before the command: xaipipe --json explain …"
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Settings of a command that takes flags which only the chosen method knows."""


def read_flags(arguments: Sequence[str], params: type[BaseModel], method: str) -> dict[str, Any]:
    """What is left of a command line, as values for a method's parameters."""
    values, rest = split_flags(arguments, params, method)
    if rest:
        raise UsageError(f"unexpected '{rest[0]}'", where=f"method '{method}'", expected="--name value")
    return values


def split_flags(
    arguments: Sequence[str], params: type[BaseModel], method: str, others: Iterable[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Values for a method's parameters, and what is no flag.

    `others` are the command's own options, for the hint on a misspelt one.
    """
    values: dict[str, Any] = {}
    positional: list[str] = []
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            positional.append(flag)
            continue
        name, equals, text = flag.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        if key not in params.model_fields:
            known = [*others, *(f"--{field.replace('_', '-')}" for field in params.model_fields)]
            hint = GLOBAL_HINT if name in ("json", "plugin") else did_you_mean(name, known)
            raise UsageError(f"unexpected '{flag}'", where=f"method '{method}'", hint=hint)
        if not equals and params.model_fields[key].annotation is bool and not (rest and _is_truth(rest[0])):
            values[key] = True
            continue
        if not equals and (not rest or rest[0].startswith("--")):
            raise UsageError(f"'{flag}' wants a value", where=f"method '{method}'")
        values[key] = _value(text if equals else rest.pop(0), params.model_fields[key])
    return values, positional


def _value(text: str, field: FieldInfo) -> Any:
    """As TOML reads it, unless only the text itself fits: the layer '4' and the label 'true' are names."""
    value = toml_value(text)
    adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation(), config=_ANY_TYPE)
    for candidate in (value, text):
        try:
            adapter.validate_python(candidate)
        except ValidationError:
            continue
        return candidate
    return value


_ANY_TYPE = ConfigDict(arbitrary_types_allowed=True)


def _is_truth(text: str) -> bool:
    return text in ("true", "false")
