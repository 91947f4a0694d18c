"""Models made by code that the user trusts: `module:factory` and `FILE.py:factory`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from torch import nn

from xaipipe.errors import InputError, UsageError, brief, did_you_mean
from xaipipe.models.preprocess import Preprocess


def from_factory(source: str, weights: str | None, base: Path) -> tuple[nn.Module, Preprocess | None]:
    place, _, attribute = source.rpartition(":")
    if not place or not attribute:
        raise UsageError("a factory is named by its place and its name", got=source, expected="FILE.py:build")
    module = _import_file(base / place) if place.endswith(".py") else _import_module(place)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise UsageError(
            f"'{place}' has no factory '{attribute}'",
            hint=did_you_mean(attribute, [n for n in vars(module) if n[0] != "_"]),
        )
    arguments = [str(base / weights)] if weights else []
    if arguments and not Path(arguments[0]).is_file():
        raise InputError("there is no such file of weights", where=arguments[0])
    own = getattr(module, "PREPROCESS", None)
    if own is not None and not isinstance(own, Mapping):
        raise InputError(
            f"PREPROCESS of {place} is not a dictionary", got=type(own).__name__, expected="size, mean, std"
        )
    preprocess = Preprocess.parse(own, f"PREPROCESS of {place}") if own else None
    try:
        return factory(*arguments), preprocess
    except (Exception, SystemExit) as error:
        raise InputError("the model's factory failed", got=brief(error), where=source) from error


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        hint = "put its folder on PYTHONPATH, or name the file: FILE.py:factory"
        raise UsageError(f"module '{name}' cannot be imported", got=str(error), hint=hint) from None
    except (Exception, SystemExit) as error:
        raise InputError(f"module '{name}' cannot be imported", got=brief(error)) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError("there is no such Python file", where=path)
    spec = importlib.util.spec_from_file_location(f"xaipipe_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError("the model's file cannot be run", got=brief(error), where=path) from error
    return module
