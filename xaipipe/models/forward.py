"""Running a model on pixels, its failures in our words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xaipipe.errors import InputError, XaipipeError

_SAID_BY_TORCH = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


Forward = Callable[[Tensor], Any]
"""A model as a function of its input."""
Runner = Callable[[Forward, Tensor], Any]
"""Runs a model in its own way."""


def as_it_is(model: Forward, pixels: Tensor) -> Any:
    return model(pixels)


def forward(module: nn.Module | Forward, pixels: Tensor, name: str | None = None, run: Runner = as_it_is) -> Any:
    """The module's answer. It gets a copy of the pixels, since a model may work in place."""
    try:
        return run(module, pixels.clone())
    except XaipipeError:  # a hook's own words
        raise
    except Exception as error:
        if is_out_of_memory(error):  # too large a batch, which is not the model's fault
            raise
        raise InputError(
            "the model failed on its input",
            got=f"{type(error).__name__}: {error}",
            where=f"{name or type(module).__name__}, input {tuple(pixels.shape)} {pixels.dtype}",
            hint="check that size and channels are what the model wants",
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; on the CPU and in its libraries torch says so in a plain `RuntimeError`."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return type(error) is RuntimeError and any(words in str(error) for words in _SAID_BY_TORCH)
