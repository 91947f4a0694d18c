"""Models of timm and torchvision, by name, with the preprocessing that was published with them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from xaipipe.errors import InputError, UsageError, XaipipeError, brief, did_you_mean
from xaipipe.models.preprocess import Preprocess


def from_library(library: str, name: str, pretrained: bool) -> tuple[nn.Module, Preprocess | None]:
    """A model of a library; what goes wrong in there, such as a download, is worded."""
    try:
        return LIBRARIES[library](name, pretrained)
    except XaipipeError:
        raise
    except Exception as error:
        raise InputError(
            f"{library} cannot make the model '{name}'",
            got=brief(error),
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


LIBRARIES: dict[str, Callable[[str, bool], tuple[nn.Module, Preprocess | None]]] = {
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
