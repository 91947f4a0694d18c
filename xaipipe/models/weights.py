"""Files of weights: numbers only, never code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from torch import nn

from xaipipe.errors import InputError, UsageError, brief
from xaipipe.models.libraries import LIBRARIES, from_library
from xaipipe.models.preprocess import Preprocess

WEIGHTS = (".safetensors", ".pt", ".pth")
"""How the names of files of weights end."""


def from_weights(path: Path, arch: str | None) -> tuple[nn.Module, Preprocess | None]:
    if arch is None:
        raise UsageError("a file of weights needs its architecture", where=path, hint='set arch = "timm:NAME"')
    scheme, _, name = arch.partition(":")
    if scheme not in LIBRARIES:
        raise UsageError(f"unknown architecture '{arch}'", expected="timm:NAME or torchvision:NAME")
    state = _read_weights(path)
    module, preprocess = from_library(scheme, name, False)
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(
            "the weights do not fit the architecture", got=brief(error), where=f"{path} as {arch}"
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
            got=None if pickled else brief(error),  # torch's own advice is to load it unsafely
            where=path,
            hint="load it in a factory of your own and pass FILE.py:factory --trust" if pickled else None,
        ) from None
    return state
