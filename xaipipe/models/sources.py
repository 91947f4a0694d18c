"""Models by name: `timm:…`, `torchvision:…`, weights with an architecture, or code that the user trusts."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field
from torch import nn

from xaipipe.errors import InputError, UntrustedError, UsageError, XaipipeError, did_you_mean
from xaipipe.models.model import Model, own_labels
from xaipipe.models.preprocess import Preprocess
from xaipipe.params import Params

WEIGHTS = (".safetensors", ".pt", ".pth")
"""How the names of files of weights end."""


class ModelSettings(Params):
    """The `[model]` table."""

    source: str = Field(
        description="timm:NAME, torchvision:NAME, FILE.safetensors, FILE.pt, module:factory, FILE.py:factory"
    )
    arch: str | None = Field(None, description="timm:NAME or torchvision:NAME, where source is a file of weights")
    weights: str | None = Field(None, description="path handed to a factory as its only argument")
    labels: str | None = Field(None, description="text file, a label a line (numbered or not), in the outputs' order")
    pretrained: bool = Field(True, description="published weights for timm: and torchvision: sources")


def load_model(settings: ModelSettings, *, trust: bool = False, base: Path | None = None) -> Model:
    """The model a `[model]` table describes. Paths are relative to `base`. Code runs only with `trust`."""
    base = base or Path.cwd()
    module, own = _module_and_preprocess(settings, trust, base)
    if not isinstance(module, nn.Module):
        raise InputError(
            "the model's source returned something else than a model",
            got=type(module).__name__,
            expected="a torch.nn.Module",
            where=settings.source,
        )
    module.eval()
    return Model(
        module=module,
        preprocess=own,
        labels=_labels(settings, base) or own_labels(module),
        source=settings.source,
    )


def _module_and_preprocess(settings: ModelSettings, trust: bool, base: Path) -> tuple[nn.Module, Preprocess | None]:
    scheme, _, name = settings.source.partition(":")
    if scheme in _LIBRARIES:
        return _made(scheme, name, settings.pretrained)
    if scheme == "hf":
        raise UsageError(
            "models from the Hugging Face Hub are not supported yet",
            got=settings.source,
            hint='download the weights and name their architecture: arch = "timm:NAME"',
        )
    suffix = Path(settings.source).suffix
    if suffix in WEIGHTS:
        return _from_weights(base / settings.source, settings.arch)
    if ":" in settings.source:
        if not trust:
            raise UntrustedError(
                "this model is code, and code runs only where you say so",
                where=settings.source,
                hint="read it, then add --trust (from Python: trust=True)",
            )
        return _from_factory(settings, base)
    raise UsageError(
        f"model source '{settings.source}' is not one of those that are known",
        expected="timm:NAME, torchvision:NAME, FILE.safetensors, FILE.pt, module:factory or FILE.py:factory",
        hint=f"name the function that makes the model: {settings.source}:build" if suffix == ".py" else None,
    )


def _made(library: str, name: str, pretrained: bool) -> tuple[nn.Module, Preprocess | None]:
    """A model of a library; what goes wrong in there, such as a download, is worded."""
    try:
        return _LIBRARIES[library](name, pretrained)
    except XaipipeError:
        raise
    except Exception as error:
        raise InputError(
            f"{library} cannot make the model '{name}'",
            got=_brief(error),
            hint="without network, set pretrained = false or give a file of weights" if pretrained else None,
        ) from error


def _from_timm(name: str, pretrained: bool) -> tuple[nn.Module, Preprocess]:
    timm = _library("timm")
    if name.split(".")[0] not in timm.list_models():
        raise UsageError(f"timm has no model '{name}'", hint=did_you_mean(name, timm.list_models()))
    module = timm.create_model(name, pretrained=pretrained)
    data = timm.data.resolve_model_data_config(module)
    mode = data["interpolation"] if data["interpolation"] in ("bilinear", "bicubic") else "bilinear"
    values = {
        "size": data["input_size"][-1],
        "mean": data["mean"],
        "std": data["std"],
        "crop": data["crop_pct"],
    }
    return module, Preprocess.parse({**values, "interpolation": mode}, f"timm:{name}")


def _from_torchvision(name: str, pretrained: bool) -> tuple[nn.Module, Preprocess | None]:
    torchvision = _library("torchvision")
    models = torchvision.models
    known = models.list_models(module=models)  # those that classify; others need what we do not know
    if name not in known:
        raise UsageError(f"torchvision has no classification model '{name}'", hint=did_you_mean(name, known))
    weights = models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    size = transform.crop_size[0]
    values = {
        "size": size,
        "mean": tuple(transform.mean),
        "std": tuple(transform.std),
        "interpolation": transform.interpolation.value,
        "crop": size / transform.resize_size[0],
    }
    preprocess = Preprocess.parse(values, f"torchvision:{name}")
    module = models.get_model(name, weights=weights if pretrained else None)
    module.labels = tuple(weights.meta["categories"])
    return module, preprocess


_LIBRARIES: dict[str, Callable[[str, bool], tuple[nn.Module, Preprocess | None]]] = {
    "timm": _from_timm,
    "torchvision": _from_torchvision,
}


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"{name} is not installed",
            got=str(error),
            hint="pip install 'xaipipe[timm]' brings timm and torchvision",
        ) from None


def _from_weights(path: Path, arch: str | None) -> tuple[nn.Module, Preprocess | None]:
    if arch is None:
        raise UsageError("a file of weights needs its architecture", where=path, hint='set arch = "timm:NAME"')
    scheme, _, name = arch.partition(":")
    if scheme not in _LIBRARIES:
        raise UsageError(f"unknown architecture '{arch}'", expected="timm:NAME or torchvision:NAME")
    state = _read_weights(path)
    module, preprocess = _made(scheme, name, False)
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(
            "the weights do not fit the architecture", got=_brief(error), where=f"{path} as {arch}"
        ) from None
    return module, preprocess


def _read_weights(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError("there is no such file of weights", where=path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        pickled = isinstance(error, pickle.UnpicklingError)
        raise InputError(
            "the file holds code, not only weights" if pickled else "the weights cannot be read",
            got=None if pickled else _brief(error),  # torch's own advice is to load it unsafely
            where=path,
            hint="load it in a factory of your own and pass FILE.py:factory --trust" if pickled else None,
        ) from None
    return state


def _from_factory(settings: ModelSettings, base: Path) -> tuple[nn.Module, Preprocess | None]:
    place, _, attribute = settings.source.rpartition(":")
    if not place or not attribute:
        raise UsageError("a factory is named by its place and its name", got=settings.source, expected="FILE.py:build")
    module = _import_file(base / place) if place.endswith(".py") else _import_module(place)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise UsageError(
            f"'{place}' has no factory '{attribute}'",
            hint=did_you_mean(attribute, [n for n in vars(module) if n[0] != "_"]),
        )
    arguments = [str(base / settings.weights)] if settings.weights else []
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
        raise InputError("the model's factory failed", got=_brief(error), where=settings.source) from error


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        hint = "put its folder on PYTHONPATH, or name the file: FILE.py:factory"
        raise UsageError(f"module '{name}' cannot be imported", got=str(error), hint=hint) from None
    except (Exception, SystemExit) as error:
        raise InputError(f"module '{name}' cannot be imported", got=_brief(error)) from error


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
        raise InputError("the model's file cannot be run", got=_brief(error), where=path) from error
    return module


def _labels(settings: ModelSettings, base: Path) -> tuple[str, ...]:
    if settings.labels is None:
        return ()
    path = base / settings.labels
    if not path.is_file():
        raise InputError("there is no such file of labels", where=path)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError("the labels are not text in UTF-8", got=str(error), where=path) from None
    numbered = [line.partition(" ") for line in lines]
    if all(number == str(index) for index, (number, _, _) in enumerate(numbered)):
        return tuple(label.strip() for _, _, label in numbered)  # "0  background", "1  tench", …
    return tuple(lines)


def _brief(error: BaseException) -> str:
    """An error in one line; torch lists every key of a model in one message."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", _LONGEST)


_LONGEST = 300
