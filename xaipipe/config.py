"""From a TOML file and `--set a.b=c` to the stages of a run."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import Field
from torch import Tensor

from xaipipe.errors import InputError, UsageError, did_you_mean
from xaipipe.models.preprocess import Preprocess
from xaipipe.models.sources import ModelSettings
from xaipipe.nested import Nested
from xaipipe.params import Params, toml_value
from xaipipe.registry import Registry
from xaipipe.running.budget import Bytes
from xaipipe.stages import Explainer, Loader, Postprocessor, Segmenter, Stage, Store

TABLES = ("model", "preprocess", "load", "explain", "postprocess", "segment", "store", "run")
_LISTS = ("postprocess", "segment")
_DEFAULT_METHODS = {"load": "tiles", "store": "ome_zarr"}


class RunSettings(Params):
    """The `[run]` table."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, …")
    mode: Literal["approximate", "exact"] = Field(
        "approximate", description="exact: tiles together give the whole image's map; approximate: each by itself"
    )
    readers: int = Field(2, ge=1, description="processes that read and decode tiles")
    isolate: bool = Field(True, description="read in processes that may crash; false: in this one, to debug a reader")
    read_timeout: float = Field(60.0, gt=0, description="seconds that reading one tile may take")
    reader_memory: int = Field(4096, ge=64, description="MiB that a reading process may allocate (Linux)")
    budget: Bytes | None = Field(
        None, ge=1, description='memory that the run may take, such as "6GiB"; unset: most of what is free'
    )
    device_budget: Bytes | None = Field(
        None, ge=1, description="memory of the GPU that the run may take; unset: most of what is free"
    )
    max_bad_tiles: int | None = Field(
        None, ge=0, description="tiles that may be unreadable before the run ends; unset: any number"
    )


@dataclass(frozen=True)
class Config:
    """A run's settings, validated: every stage is built, every key is known."""

    model: ModelSettings | None
    preprocess: Mapping[str, Any]
    """The `[preprocess]` table: goes on top of what the model brings."""
    loader: Loader
    explainer: Explainer
    postprocessors: tuple[Postprocessor, ...]
    segmenters: tuple[Segmenter, ...]
    store: Store
    run: RunSettings
    tables: Mapping[str, Any]
    """The settings as they were written, for the manifest."""
    base: Path
    """The folder that paths in the settings are relative to."""


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary, or a worded error."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError("there is no such configuration file", where=path) from None
    except OSError as error:
        raise InputError("the configuration cannot be read", got=error.strerror, where=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("the configuration is not valid TOML", got=str(error), where=path) from None


def with_settings(tables: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """The tables with every `a.b=c` applied; list entries by number, as in `postprocess.0.sigma=2`."""
    result: dict[str, Any] = _copied(tables)
    for setting in settings:
        path, equals, text = setting.partition("=")
        keys = path.strip().split(".")
        if not equals or len(keys) < 2 or not all(keys):
            raise UsageError("--set wants table.key=value", got=setting, hint="--set explain.method=gradcam")
        _assign(result, keys, toml_value(text.strip()), setting)
    return result


def build_config(tables: Mapping[str, Any], registry: Registry, base: Path | None = None) -> Config:
    """Every stage, built and checked, before anything is opened or loaded."""
    for table in tables:
        if table not in TABLES:
            raise UsageError(f"unknown table '[{table}]'", hint=did_you_mean(table, TABLES))
    model, preprocess = _table(tables, "model"), _table(tables, "preprocess")
    Preprocess.check_table(preprocess, "[preprocess]")
    postprocess = [_stage("postprocess", table, registry) for table in _list(tables, "postprocess")]
    segment = [_stage("segment", table, registry) for table in _list(tables, "segment")]
    explainer = cast(Explainer, _stage("explain", _table(tables, "explain"), registry))
    _require_for_any_image(explainer)
    return Config(
        model=ModelSettings.parse(model, "[model]") if model else None,
        preprocess=preprocess,
        loader=cast(Loader, _stage("load", _table(tables, "load"), registry)),
        explainer=explainer,
        postprocessors=tuple(cast(Postprocessor, stage) for stage in postprocess),
        segmenters=tuple(cast(Segmenter, stage) for stage in segment),
        store=cast(Store, _stage("store", _table(tables, "store"), registry)),
        run=RunSettings.parse(_table(tables, "run"), "[run]"),
        tables=_copied(tables),
        base=base or Path.cwd(),
    )


def _stage(kind: str, table: Mapping[str, Any], registry: Registry) -> Stage:
    values = dict(table)
    name = values.pop("method", _DEFAULT_METHODS.get(kind))
    if not isinstance(name, str):
        raise UsageError(
            f"[{kind}] does not say which method",
            got=None if name is None else repr(name),
            expected='method = "NAME"',
            hint=did_you_mean("", registry.names(kind)),
        )
    method = registry.method(kind, name)
    return method(method.Params.parse(values, f"[{kind}] method '{name}'", registry))


def _require_for_any_image(explainer: Explainer) -> None:
    """A run explains tile after tile: what is made for certain images has no place in its settings."""
    if isinstance(explainer.params.within, Tensor):
        raise UsageError(
            "a mask is for the images that it was made of, and a run explains many tiles",
            got=f"[explain] within = a mask {tuple(explainer.params.within.shape)}",
            expected="'everywhere', or nothing: the pixels that the model gives to the class",
        )
    for name, value in _tensors(explainer.params):
        raise UsageError(
            "a tensor is for certain images, and a run explains many tiles",
            got=f"[explain] {name} = a tensor {tuple(value.shape)}",
            expected="a value that a file can hold",
        )


def _tensors(params: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Tensor]]:
    """Parameters that are tensors, those of methods inside the parameters too."""
    for name, value in params:
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, Nested):
            yield from ((f"{name}.{inner}", tensor) for inner, tensor in _tensors(value.params))


def _table(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, Mapping):
        raise UsageError(f"'{name}' is a table", got=type(table).__name__, expected=f"[{name}]")
    return table


def _list(tables: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    entries = tables.get(name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise UsageError(f"'{name}' is a list of tables", got=type(entries).__name__, expected=f"[[{name}]]")
    return entries


def _assign(node: Any, keys: list[str], value: Any, setting: str) -> None:
    for depth, key in enumerate(keys[:-1]):
        if isinstance(node, list):
            node = _entry(node, key, setting)
        else:
            node = node.setdefault(key, [] if depth == 0 and key in _LISTS else {})
        if not isinstance(node, dict | list):
            raise UsageError(f"'{key}' is a value, not a table", where=f"--set {setting}")
    if isinstance(node, list):
        raise UsageError("a list entry is a table", where=f"--set {setting}", hint="--set postprocess.0.method=smooth")
    node[keys[-1]] = value


def _entry(entries: list[Any], key: str, setting: str) -> Any:
    if not key.isdecimal() or int(key) > len(entries):
        raise UsageError(f"there is no entry '{key}'", expected=f"0 … {len(entries)}", where=f"--set {setting}")
    if int(key) == len(entries):
        entries.append({})
    return entries[int(key)]


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    return value
