"""Checkpointing inside a model is switched off: it would run parts of the model again, out of sight."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

_NOTHING: AbstractContextManager[Any] = nullcontext()


class Checkpoints:
    """Of one forward pass; hooks that were set around it stay in force."""

    def __init__(self) -> None:
        self._outer = _hooks()

    def switched_off(self) -> AbstractContextManager[Any]:
        """Inside, what is saved for the way back is saved, whatever checkpoint the model runs in."""
        return _NOTHING if _hooks() == self._outer else saved_tensors_hooks(_same, _same)


def _hooks() -> Any:
    """Those in force in this thread."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True)


def _same(tensor: Tensor) -> Tensor:
    return tensor
