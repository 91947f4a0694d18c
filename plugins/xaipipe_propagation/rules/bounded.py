"""The rule of the first layer for pixels that are known to lie between two bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe import Batch
from xaipipe.doubts import doubt, named
from xaipipe.errors import UsageError
from xaipipe.ops import box_combine
from xaipipe.propagation import Books, Operation, Rule, Weighted
from xaipipe.propagation.weighted import Convolution
from xaipipe_propagation.rules.dividing import shares

_BEYOND = 0.01
"""How far beyond the bounds a pixel may lie, as a share of their distance: half precisions and resizings round."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """The lowest and the highest value of each channel, [C], or [N, C] where every image has its own."""

    low: Tensor
    high: Tensor
    size: tuple[int, ...]
    """Of the images: height and width."""

    def at(self, op: Weighted, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both as images at the input x of a layer: [1 or N, C, …], or with sides of one where that says the same."""
        steps = op.since_input
        if steps is None:
            raise UsageError(
                "the bounds of a layer's input are not known, since other layers lie before it",
                where=str(op),
                hint="z_box is a rule of the first layer, and of what is done to pixels elementwise before it",
            )
        alike = all(step.elementwise for step in steps)
        sides = (1,) * len(self.size) if alike else self.size
        ends = [b.to(x.device, x.dtype).reshape(-1, b.shape[-1], *[1] * len(sides)) for b in (self.low, self.high)]
        ends = [end.expand(-1, -1, *sides) for end in ends]
        for step in steps:
            ends = [step.run(end) for end in ends]
        return torch.minimum(*ends), torch.maximum(*ends)  # a negative factor makes the lowest the highest


def doubt_pixels_beyond(bounds: Bounds, batch: Batch) -> None:
    """Of pixels that are not between the bounds, z_box takes what speaks for the output to speak against it."""
    flat = batch.pixels.flatten(2)
    darkest, brightest = (ends.double().cpu() for ends in (flat.amin(dim=2), flat.amax(dim=2)))
    low, high = (end.double().cpu().reshape(-1, end.shape[-1]).expand_as(darkest) for end in (bounds.low, bounds.high))
    distance = (high - low).clamp_min(torch.finfo(low.dtype).tiny)
    beyond = torch.maximum(low - darkest, brightest - high) / distance

    def text(image: int) -> str:
        channel = int(beyond[image].argmax())
        found, allowed = (
            f"from {float(least[image, channel]):.4g} to {float(most[image, channel]):.4g}"
            for least, most in ((darkest, brightest), (low, high))
        )
        return (
            f"z_box: pixels of {named(batch, image)} are not between the bounds\n"
            f"  got: values {found} in channel {channel}\n"
            f"  expected: {allowed}\n"
            f"  next: say with low and high between what the model's pixels lie"
        )

    doubt("z_box: pixels beyond the bounds", batch, (beyond.amax(dim=1) - _BEYOND).tolist(), text)


@dataclass(frozen=True, eq=False)
class ZBox(Rule):
    """z_ij = x_i w_ij − l_i w⁺_ij − h_i w⁻_ij: measured from the bound that speaks least for the output."""

    bounds: Bounds
    eps: float
    keeps_output = False
    skips_idle = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert isinstance(op, Weighted)
        (x,) = operands
        small = self.bounds.at(op, x)
        low, high = (end.expand(len(end), *x.shape[1:]) for end in small)
        z = (
            op.forward(x, bias=False)
            - op.forward(low, "positive", bias=False)
            - op.forward(high, "negative", bias=False)
        )
        s = shares(arriving, z, self.eps, books)
        if not _by_kernel(op, x, small[0]):
            own, plus, minus = (op.pull(s, x, part) for part in ("", "positive", "negative"))
            return [x * own - low * plus - high * minus]
        stacked = op.weights.made("box", _stacked)
        tripled = x[:1].expand(3, *x.shape[1:]).flatten(0, 1)[None].expand(len(x), -1, *x.shape[2:])  # for its shape
        return [box_combine(x, op.form.pull(s, stacked, tripled), *(end.flatten() for end in small))]


def _by_kernel(op: Weighted, x: Tensor, low: Tensor) -> bool:
    """Whether the layer is a plain convolution, and the bounds are a number for each channel."""
    plain = isinstance(op.form, Convolution) and op.form.groups == 1 and not op.form.transposed
    return plain and low.shape == (1, x.shape[1], *[1] * (x.ndim - 2)) and x.dtype != torch.half


def _stacked(weight: Tensor, bias: Tensor | None) -> Tensor:
    """w, w⁺ and w⁻ along the input channels: one transposed convolution for all three."""
    return torch.cat([weight, weight.clamp(min=0), weight.clamp(max=0)], dim=1)
