"""What the command line says of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xaipipe.errors import UsageError
from xaipipe.models.weights import WEIGHTS


def from_here(source: str) -> str:
    """A path typed on the command line is relative to where it was typed, not to the configuration."""
    place, colon, factory = source.rpartition(":")
    if place.endswith(".py"):
        return f"{Path(place).absolute()}{colon}{factory}"
    return str(Path(source).absolute()) if Path(source).suffix in WEIGHTS else source


def with_model(tables: dict[str, Any], source: str | None, output: str | None) -> dict[str, Any]:
    """Settings in which the model is the one that was named."""
    table = tables.get("model", {})
    if not isinstance(table, dict):
        raise UsageError("'model' is a table", got=type(table).__name__, expected="[model]")
    given = {"source": source and from_here(source), "output": output}
    named = {name: value for name, value in given.items() if value is not None}
    return {**tables, "model": {**table, **named}} if named else tables
