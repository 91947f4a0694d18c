"""A method's parameters as command line flags: `--layer features.18 --signed`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from xaipipe.errors import UsageError, did_you_mean
from xaipipe.params import toml_value

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Settings of a command that takes flags which only the chosen method knows."""


def read_flags(arguments: Sequence[str], params: type[BaseModel], method: str) -> dict[str, Any]:
    """What is left of a command line, as values for a method's parameters."""
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        name, equals, text = flag.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        if not flag.startswith("--") or key not in params.model_fields:
            known = [f"--{field.replace('_', '-')}" for field in params.model_fields]
            raise UsageError(f"unexpected '{flag}'", where=f"method '{method}'", hint=did_you_mean(flag, known))
        if not equals and params.model_fields[key].annotation is bool and not (rest and _is_truth(rest[0])):
            values[key] = True
            continue
        if not equals and not rest:
            raise UsageError(f"'{flag}' wants a value", where=f"method '{method}'")
        values[key] = toml_value(text if equals else rest.pop(0))
    return values


def _is_truth(text: str) -> bool:
    return text in ("true", "false")
