"""Running a model on pixels, its failures in our words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xaipipe.errors import InputError, XaipipeError


def forward(module: nn.Module, pixels: Tensor, name: str | None = None) -> Any:
    """The module's answer. It gets a copy of the pixels, since a model may work in place."""
    try:
        return module(pixels.clone())
    except (XaipipeError, torch.OutOfMemoryError):  # a hook's own words; too large a batch
        raise
    except Exception as error:
        raise InputError(
            "the model failed on its input",
            got=f"{type(error).__name__}: {error}",
            where=f"{name or type(module).__name__}, input {tuple(pixels.shape)} {pixels.dtype}",
            hint="check that size and channels are what the model wants",
        ) from error
