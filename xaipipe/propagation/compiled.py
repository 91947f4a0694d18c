"""Models that were compiled are explained as they were written."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn


def uncompiled(module: nn.Module) -> AbstractContextManager[Any]:
    """Inside, the compiled parts of a model run as they were written."""
    compiled = any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in module.modules())
    stance: Any = torch.compiler.set_stance
    return stance("force_eager") if compiled else nullcontext()
