"""Many forward passes without a gradient, as quick as the processor allows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe import InputError, Model, Question
from xaipipe.models.forward import Runner, as_it_is
from xaipipe.models.targets import Selection
from xaipipe_cam.folded import DeviatesError, FoldedModel

_ROUNDING = 1e-5
"""Of the largest output: what convolutions do for others may change an answer by so much before all is left alone."""


class QuickForward:
    """A model that is asked again and again.

    Convolutions do the work of batch norms that follow them; on a CPU that of sums and rectifiers too, and channels
    lie side by side. It is tried out with one image [1, …]. A model to which the one is not the same, or that looks at
    tensors in a way that only another order in memory allows, is run as it is.
    """

    def __init__(self, model: Model, pixels: Tensor) -> None:
        self._model = model
        self._order = torch.channels_last if model.device.type == "cpu" else torch.contiguous_format
        self._folded = FoldedModel(model.module, self._order)
        self._run: Runner = as_it_is
        self._try_out(pixels)

    @property
    def held(self) -> int:
        """Bytes that are kept between passes."""
        return 0 if self._run is as_it_is else self._folded.held

    def in_order(self, pixels: Tensor) -> Tensor:
        """The pixels with memory in the order that the model is run in."""
        return pixels.contiguous(memory_format=self._order)

    @torch.no_grad()
    def ask(self, pixels: Tensor, questions: Sequence[Question]) -> tuple[Selection, ...]:
        try:
            return self._model.ask(self.in_order(pixels), questions, self._run)
        except InputError as error:
            if not isinstance(error.__cause__, DeviatesError):
                raise
        self._run = as_it_is
        return self._model.ask(self.in_order(pixels), questions)

    @torch.no_grad()
    def _try_out(self, pixels: Tensor) -> None:
        try:
            plain = self._model.outputs(self.in_order(pixels), self._folded.learn)
        except InputError:
            self._order = torch.contiguous_format
            return
        if not self._folded.held:
            return
        try:
            quick = self._model.outputs(self.in_order(pixels), self._folded.run)
        except InputError:
            return
        if (quick - plain).abs().max() <= _ROUNDING * plain.abs().max():
            self._run = self._folded.run
