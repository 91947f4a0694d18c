"""Many forward passes without a gradient, as quick as the processor allows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe import InputError, Model, Question
from xaipipe.models.targets import Selection


class QuickForward:
    """A model that is asked again and again. On a CPU convolutions are quicker where channels lie side by side.

    That is the same to a model, but for one that looks at tensors in a way that only another order in memory allows:
    where it fails, it gets the images as they are.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._reorders = model.device.type == "cpu"

    def ask(self, pixels: Tensor, questions: Sequence[Question]) -> tuple[Selection, ...]:
        if self._reorders:
            try:
                return self._model.ask(pixels.contiguous(memory_format=torch.channels_last), questions)
            except InputError:
                self._reorders = False
        return self._model.ask(pixels, questions)
