"""Methods that read the model's gradient."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_gradients.saliency import Saliency


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [Saliency]
