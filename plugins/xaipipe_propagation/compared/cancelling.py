"""RevealCancel: positive and negative contributions to an activation are followed apart."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe.propagation import Weighted, sum_to
from xaipipe_propagation.compared.activations import Rescale, slope
from xaipipe_propagation.compared.rule import DifferenceRule, Met, difference


class RevealCancel(Rescale):
    """What positive contributions to x change in f, and what negative ones do, each met before and after the other.

    With Δx⁺ and Δx⁻ from the layer or the sum that made x: m⁺ = ½ (f(x'+Δx⁺) − f(x') + f(x) − f(x'+Δx⁻)) / Δx⁺, and
    m⁻ likewise. Where something else made x, its difference is one contribution, and the rule is Rescale.
    """

    def multipliers(self, met: Met, arriving: Tensor) -> Sequence[Tensor]:
        maker = met.maker
        if maker is None or not isinstance(maker.rule, Splitting):
            return super().multipliers(met, arriving)
        (here,), (there,) = met.here, met.there
        up = maker.rule.positive(maker)
        down = (here - there - up).clamp(max=0)
        risen, fallen = there + up, there + down
        of_up = (slope(met.op, risen, there) + slope(met.op, here, fallen)) / 2
        of_down = (slope(met.op, fallen, there) + slope(met.op, here, risen)) / 2
        apart = sum_to(arriving * (of_down - of_up), here.shape)
        maker.apart = apart if maker.apart is None else maker.apart + apart
        return (sum_to(arriving * of_up, here.shape),)


class Splitting(DifferenceRule):
    """A linear operator whose positive and negative contributions are told apart."""

    @abstractmethod
    def positive(self, met: Met) -> Tensor:
        """The sum of all positive contributions to each output."""

    @abstractmethod
    def split(self, met: Met, apart: Tensor) -> Sequence[Tensor]:
        """What `apart` adds to each operand's multiplier."""

    def multipliers(self, met: Met, arriving: Tensor) -> Sequence[Tensor]:
        apart, met.apart = met.apart, None
        pulled = met.op.gradient(met.here, arriving)
        if apart is None:
            return pulled
        return [one + more for one, more in zip(pulled, self.split(met, apart), strict=True)]


class SplitWeights(Splitting):
    """A weight contributes positively where its sign is that of its input's difference, and half where that is zero."""

    def positive(self, met: Met) -> Tensor:
        run, layer = difference(met.here[0], met.there[0]), _layer(met)
        return layer.forward(run.clamp(min=0), "positive", bias=False) + layer.forward(
            run.clamp(max=0), "negative", bias=False
        )

    def split(self, met: Met, apart: Tensor) -> Sequence[Tensor]:
        (x,), layer = met.here, _layer(met)
        run = difference(x, met.there[0])
        negative, positive = (layer.pull(apart, x, kind) for kind in ("negative", "positive"))
        return (torch.where(run > 0, negative, torch.where(run < 0, positive, (negative + positive) / 2)),)


class SplitSum(Splitting):
    """Of several operands, each contributes with its own sign."""

    def positive(self, met: Met) -> Tensor:
        parts = [part.clamp(min=0) for part in _contributions(met)]
        return sum(parts[1:], parts[0]).expand_as(met.op.run(*met.here))

    def split(self, met: Met, apart: Tensor) -> Sequence[Tensor]:
        return [
            sum_to(factor * apart * ((part < 0) + (part == 0) / 2), x.shape)
            for part, factor, x in zip(_contributions(met), met.op.factors, met.here, strict=True)
        ]


def _contributions(met: Met) -> list[Tensor]:
    return [
        factor * difference(here, there)
        for factor, here, there in zip(met.op.factors, met.here, met.there, strict=True)
    ]


def _layer(met: Met) -> Weighted:
    assert isinstance(met.op, Weighted)
    return met.op
