"""Where the cells lie that operators make of several maps.

Branches that agree leave it as it is. Where they disagree, each counts by what it contributes to the result: its
squared gradient for the image, over all elements. What a cell of a sum responds to has its centroid just there, but for
products of the branches' gradients, which have no sign of their own. Where gradients cost too much, the variance of a
branch over space stands for them; of a linear network and noise it is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from xaipipe.models.fields import Field
from xaipipe.models.scattered import Scattered, one_of_each

Placed = tuple[Tensor, Field | Scattered]
"""An operand and where its cells lie."""
Energy = Callable[[Tensor, Field | Scattered, Sequence[Tensor]], float]
"""What an operand contributes, besides the other factors of a product."""

_ALIKE = 1.1
"""Contributions count as equal where none is larger than another by this factor, or by more where values are few."""
_ROUNDING = 1e-6
_PRODUCTS = {"mul", "mul_", "multiply", "multiply_", "__mul__", "__rmul__", "__imul__"}


def shares_of(placed: Sequence[Placed], name: str, energy: Energy) -> list[float]:
    """What part each operand has in the result; in hundredths, so that no rounding of a device's shows in them."""
    if all(_lie_alike(places, placed[0][1]) for _, places in placed[1:]):
        return [1 / len(placed)] * len(placed)
    factors = [tensor for tensor, _ in placed] if name in _PRODUCTS else []
    others = [[other for other in factors if other is not tensor] for tensor, _ in placed]
    energies = [energy(*one, rest) for one, rest in zip(placed, others, strict=True)]
    if not any(energies):  # nothing of it has a gradient
        energies = [spread(*one, rest) for one, rest in zip(placed, others, strict=True)]
    total = sum(energies)
    alike = _ALIKE + 6 * math.sqrt(2 / min(tensor.numel() for tensor, _ in placed))  # what estimates err by
    if not math.isfinite(total) or min(energies) * alike >= max(energies):
        return [1 / len(placed)] * len(placed)
    hundredths = [round(100 * energy / total) for energy in energies]
    return [one / sum(hundredths) for one in hundredths]


def _lie_alike(one: Field | Scattered, other: Field | Scattered) -> bool:
    if isinstance(one, Field) and isinstance(other, Field):
        return (one.scale, one.offset, one.axes) == (other.scale, other.offset, other.axes)
    if isinstance(one, Scattered) and isinstance(other, Scattered) and one.y.shape == other.y.shape:
        return _same(one.y, other.y) and _same(one.x, other.x)
    return False


def spread(tensor: Tensor, places: Field | Scattered, factors: Sequence[Tensor]) -> float:
    """The variance over space; in a product times the mean square of the other factors."""
    space = places.axes if isinstance(places, Field) else tuple(range(1, tensor.ndim))
    energy = tensor.detach().float().var(dim=space, correction=0, keepdim=True)
    for factor in factors:
        if factor.ndim != tensor.ndim:
            return math.nan
        energy = energy * factor.detach().float().square().mean(dim=space, keepdim=True)
    return float(energy.sum())


@dataclass(frozen=True, eq=False)
class Slope:
    """The squared gradient of all elements for an image; by random signs, whose products cancel in the sum."""

    image: Tensor
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def __call__(self, tensor: Tensor, places: Field | Scattered, factors: Sequence[Tensor]) -> float:
        signed = tensor * torch.randint(0, 2, tensor.shape, generator=self.generator).mul_(2).sub_(1).to(tensor)
        for factor in factors:
            signed = signed * factor.detach()
        if not signed.requires_grad:
            return 0.0
        (slope,) = torch.autograd.grad(signed.sum(), self.image, retain_graph=True, allow_unused=True)
        return 0.0 if slope is None else float(slope.double().square().sum())


def met(placed: Sequence[Placed], shares: Sequence[float], output: Tensor) -> Field | Scattered | None:
    """Where the cells lie of what was made of all operands; None where these do not go together."""
    fields = [places for _, places in placed if isinstance(places, Field)]
    if len(fields) == len(placed) and all(field.axes == fields[0].axes for field in fields):
        return _fields_met(fields, shares)
    return _scattered_met(placed, shares, output)


def joined(fields: Sequence[Field], shares: Sequence[float]) -> Field:
    """The same for maps that are joined along their channels.

    Where all contribute alike and lie within a cell, they are the cell's parts, and no branches that disagree.
    """
    found = _fields_met(fields, shares)
    parts = len(set(shares)) == 1 and found.apart < min(found.scale)
    return replace(found, apart=max(field.apart for field in fields)) if parts else found


def _fields_met(fields: Sequence[Field], shares: Sequence[float]) -> Field:
    offset = _weighted_mean([field.offset for field in fields], shares)
    y, x = (max(f.receptive[axis] + 2 * abs(f.offset[axis] - offset[axis]) for f in fields) for axis in (0, 1))
    counting = [f.offset for f, share in zip(fields, shares, strict=True) if share > 0]
    spread = max(max(o[axis] for o in counting) - min(o[axis] for o in counting) for axis in (0, 1))
    return replace(
        fields[0],
        scale=_weighted_mean([field.scale for field in fields], shares),
        offset=offset,
        receptive=(y, x),
        sees_more=any(field.sees_more for field in fields),
        apart=max(spread if spread > _ROUNDING else 0.0, *(field.apart for field in fields)),
    )


def _weighted_mean(pairs: Sequence[tuple[float, float]], shares: Sequence[float]) -> tuple[float, float]:
    """Just the first where all are the same."""
    y, x = (
        pairs[0][axis] + sum(share * (pair[axis] - pairs[0][axis]) for share, pair in zip(shares, pairs, strict=True))
        for axis in (0, 1)
    )
    return y, x


def _scattered_met(placed: Sequence[Placed], shares: Sequence[float], output: Tensor) -> Scattered | None:
    known = [p if isinstance(p, Scattered) else Scattered.of(p, t.shape, t.device) for t, p in placed]
    if any(t.ndim > output.ndim or not _fits(t.shape, output.shape) for t, _ in placed):
        return None
    base = _fields_met([replace(one.base, offset=known[0].base.offset) for one in known], shares)
    y, x = (_weighted([getattr(one, a).expand(output.shape) for one in known], shares) for a in ("y", "x"))
    counting = [one for one, share in zip(known, shares, strict=True) if share > 0]
    apart = max(_widest([getattr(one, a).expand(output.shape) for one in counting]) for a in ("y", "x"))
    return Scattered(y, x, replace(base, apart=max(base.apart, apart)))


def _fits(shape: torch.Size, onto: torch.Size) -> bool:
    return all(a in (1, b) for a, b in zip(reversed(shape), reversed(onto), strict=False))


def _weighted(places: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The mean of those places that are some."""
    if all(one is places[0] or _same(one, places[0]) for one in places[1:]):
        return places[0]
    weights = [share * (~one.isnan()).double() for share, one in zip(shares, places, strict=True)]
    total = torch.stack([w * one.nan_to_num() for w, one in zip(weights, places, strict=True)]).sum(dim=0)
    return total / torch.stack(weights).sum(dim=0)


def _same(one: Tensor, other: Tensor) -> bool:
    one, other = one_of_each(one), one_of_each(other)
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _widest(places: Sequence[Tensor]) -> float:
    """The largest distance between places that meet."""
    first = one_of_each(places[0])
    return max((float((one_of_each(one) - first).abs().nan_to_num().max()) for one in places[1:]), default=0.0)
