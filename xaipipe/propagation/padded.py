"""Convolutions behind a padding with zeros of their own: a layer may be padded in front of itself, or more on one side.

Rules that do not look at the input, or measure it from a bound, would hand relevance to the padding; seen as a part of
the convolution it gets none, as it gets none where the convolution pads itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from xaipipe.propagation.weighted import Convolution, Form


@dataclass(frozen=True)
class Padded(Form):
    """A convolution of the input with zeros around it."""

    form: Convolution
    pads: tuple[int, ...]
    """As of `F.pad`: before and behind, last dimension first."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.form.forward(F.pad(x, self.pads), weight, bias)

    def pull(self, cotangents: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        pulled = self.form.pull(cotangents, weight, F.pad(x, self.pads))
        return F.pad(pulled, tuple(-width for width in self.pads))


def padded_by(form: Convolution, pads: tuple[int, ...]) -> Form:
    """The convolution with a padding in front."""
    before, behind = pads[::2][::-1], pads[1::2][::-1]
    if before != behind:
        return Padded(form, pads)
    return replace(form, padding=tuple(own + more for own, more in zip(form.padding, before, strict=True)))
