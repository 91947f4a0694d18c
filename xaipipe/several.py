"""Several targets in one run: settings for each, and what its result is called."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xaipipe.config import Config, build_config
from xaipipe.errors import UsageError
from xaipipe.models.scores import name_of_callable
from xaipipe.registry import Registry

_LONGEST = 100
"""Bytes of a result's name."""


def build_each(tables: Mapping[str, Any], registry: Registry, base: Path | None = None) -> dict[str | None, Config]:
    """The settings of each target's result by its name; of a run that asks one target, its own without a name.

    Only the loader is one for all: it looks at the slide once.
    """
    explain = tables.get("explain")
    target = explain.get("target") if isinstance(explain, Mapping) else None
    if not isinstance(explain, Mapping) or not isinstance(target, list | tuple | Mapping):
        return {None: build_config(tables, registry, base)}
    if not target:
        raise UsageError("there is no target in the list", got=repr(target), expected="at least one", where="[explain]")
    asked = list(target.values()) if isinstance(target, Mapping) else list(target)
    built = [build_config({**tables, "explain": {**explain, "target": one}}, registry, base) for one in asked]
    names = file_names([str(name) for name in target] if isinstance(target, Mapping) else [_called(c) for c in built])
    return {name: replace(one, loader=built[0].loader) for name, one in zip(names, built, strict=True)}


def require_several(configs: Mapping[str | None, Config], labels: Sequence[str]) -> None:
    """Refuse a target that is asked twice, be it by its index and by its label."""
    asked: dict[Any, Any] = {}
    for config in configs.values():
        target = config.explainer.params.target
        what = list(labels).index(target) if isinstance(target, str) and target in labels else target
        if what in asked:
            raise UsageError(
                "a target is asked twice",
                got=f"{asked[what]!r} and {target!r}",
                expected="targets that differ",
                where="[explain] target",
                hint="leave one out; 'predicted' may be asked beside any class",
            )
        asked[what] = target


def place_of(output: Path, name: str | None) -> Path:
    """Where a result goes: to the output, or into it where several do."""
    return output if name is None else output / f"{name}{output.suffix}"


def file_names(texts: Sequence[str]) -> list[str]:
    """Names of files that differ, for any texts: letters, digits, '-' and '_' stay, of any script; the rest is '_'."""
    return list(_different(map(_file_name, texts)))


def _file_name(text: str) -> str:
    kept = "".join(one if _is_kept(one) else "_" for one in unicodedata.normalize("NFC", text))
    short = kept.encode()[:_LONGEST].decode(errors="ignore")
    return short if short[:1] not in ("", "-") else f"_{short}"  # a command line would take it for an option


def _is_kept(character: str) -> bool:
    return character in "-_" or unicodedata.category(character)[0] in "LMN"


def _different(names: Iterator[str]) -> Iterator[str]:
    """Numbered where they are alike, on file systems that do not tell capitals from small letters too."""
    taken: set[str] = set()
    for name in names:
        number, chosen = 1, name
        while chosen.casefold() in taken:
            number += 1
            chosen = f"{name}-{number}"
        taken.add(chosen.casefold())
        yield chosen


def _called(config: Config) -> str:
    target = config.explainer.params.target
    return name_of_callable(target) if callable(target) else str(target)
