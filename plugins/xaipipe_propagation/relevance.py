"""The base of methods that hand a score back as relevance, and what they say about where it went."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from xaipipe import ExplainerParams
from xaipipe.propagation import BackwardExplainer, Pulled, Where
from xaipipe.propagation.books import ABSORBERS
from xaipipe.propagation.passes import Start

_BOUNDS = {torch.float64: 1e-8, torch.float32: 1e-3}
_COARSE = 1e-1
"""For the half precisions."""


class RelevanceExplainer(BackwardExplainer):
    """What arrives, and what biases and stabilisers absorbed, sum to what began at the outputs."""

    start: ClassVar[Start] = "relevance"

    class Params(ExplainerParams):
        layer: str | None = Field(None, description="dotted name of the layer whose relevance is wanted; unset: pixels")
        channels: dict[str, list[int]] = Field(
            {}, description="only relevance through these channels: layer names with the channels of their output"
        )

    def where(self) -> Where:
        return Where(self.params.layer, self.params.channels)

    def diagnostics(self, pulled: Pulled) -> Mapping[str, Any]:
        absorbed = _total(pulled)
        arrived = _sum(pulled.values)
        diagnostics = {
            "begun": pulled.begun.tolist(),
            "arrived": arrived.tolist(),
            **{absorber: absorbed[row].tolist() for row, absorber in enumerate(ABSORBERS[:2])},
        }
        if self.params.layer is None and not self.params.channels:
            residual = pulled.begun.to(absorbed) - arrived.to(absorbed) - absorbed.sum(dim=0)
            diagnostics["residual"] = residual.tolist()
        return diagnostics


def _total(pulled: Pulled) -> Tensor:
    """[absorbers, N]"""
    if not pulled.absorbed:
        return pulled.begun.new_zeros(len(ABSORBERS), len(pulled.begun))
    return torch.stack([part.amounts for part in pulled.absorbed]).sum(dim=0)


def _sum(values: Tensor) -> Tensor:
    wide = values if values.dtype == torch.float64 else values.float()
    return wide.reshape(len(values), -1).sum(dim=1)


_ = warnings
