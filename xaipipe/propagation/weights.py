"""Weights in the parts that rules ask for, made once for each state that they are in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaipipe.models.weight_cache import WeightCache

_PARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "positive": lambda t: t.clamp(min=0),
    "negative": lambda t: t.clamp(max=0),
    "squared": torch.square,
    "ones": torch.ones_like,
}
Folding = tuple[Tensor, Tensor, Tensor | None, Tensor | None, float]
"""A batch norm: running mean, running variance, weight, bias, eps."""


def part_of(tensor: Tensor, part: str) -> Tensor:
    return _PARTS[part](tensor)


@dataclass(eq=False, slots=True)
class Weights:
    """A layer's weight and bias, with the batch norms folded in that follow it."""

    raw: Tensor
    raw_bias: Tensor | None
    cache: WeightCache | None = None
    """None for weights that are computed in the forward pass."""
    out: int = 0
    """The dimension of the weight that its output channels lie along."""
    groups: int = 1
    """For transposed convolutions, whose output channels lie in groups along that dimension."""
    norms: tuple[Folding, ...] = ()

    def folded(self, norm: Folding) -> Weights:
        return Weights(self.raw, self.raw_bias, self.cache, self.out, self.groups, (*self.norms, norm))

    def weight(self, part: str = "") -> Tensor:
        weight, _ = self._effective()
        return weight if not part else self._made(f"weight {part}", lambda: part_of(weight, part))

    def bias(self, part: str = "") -> Tensor | None:
        _, bias = self._effective()
        if bias is None or not part:
            return bias
        made: Tensor = self._made(f"bias {part}", lambda: part_of(bias, part))
        return made

    def made(self, name: str, make: Callable[[Tensor, Tensor | None], Any]) -> Any:
        """Something that a rule wants made of weight and bias, once."""
        return self._made(name, lambda: make(*self._effective()))

    def _effective(self) -> tuple[Tensor, Tensor | None]:
        if not self.norms:
            return self.raw, self.raw_bias
        effective: tuple[Tensor, Tensor | None] = self._made("folded", self._fold)
        return effective

    def _made(self, name: str, make: Callable[[], Any]) -> Any:
        if self.cache is None:
            return make()
        sources = [self.raw, self.raw_bias]
        for norm in self.norms:
            sources.extend(norm[:4])
        name = f"{name} {self.out} {self.groups} {[norm[4] for norm in self.norms]}"
        return self.cache.made(name, tuple(s for s in sources if s is not None), make)

    def _fold(self) -> tuple[Tensor, Tensor]:
        weight, bias = self.raw, self.raw_bias
        for norm in self.norms:
            factor, shift = norm_as_affine(norm, weight.dtype)
            shift = shift if bias is None else shift + factor * bias
            weight, bias = self._scaled(weight, factor), shift
        assert bias is not None
        return weight, bias

    def _scaled(self, weight: Tensor, factor: Tensor) -> Tensor:
        """Each output channel's weights times its factor."""
        if self.groups > 1:  # [C_in, C_out / groups, …]: each group of inputs has its own outputs
            per_group = factor.reshape(self.groups, 1, -1).expand(-1, weight.shape[0] // self.groups, -1)
            factor = per_group.reshape(weight.shape[0], weight.shape[1])
            return weight * factor.reshape(*factor.shape, *[1] * (weight.ndim - 2))
        shape = [1] * weight.ndim
        shape[self.out] = -1
        return weight * factor.reshape(shape)


def norm_as_affine(norm: Folding, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation as factor and shift of each channel; the factor in float64 before it is rounded."""
    mean, variance, weight, bias, eps = norm
    factor = (variance.double() + eps).rsqrt()
    factor = factor if weight is None else factor * weight.double()
    shift = -mean.double() * factor
    shift = shift if bias is None else shift + bias.double()
    return factor.to(dtype), shift.to(dtype)
