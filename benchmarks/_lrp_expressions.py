"""LRP's elementwise parts as people write them in torch, and operands to compare them on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from xaipipe import ops

EPS, ALPHA, BETA, GAMMA = 1e-6, 2.0, 1.0, 0.25
FLOOR = 2.0**-21  # csrc/lrp/alpha_beta_shares.h
Results = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """One op on one set of operands. An expression may leave out the last results."""

    name: str
    size: str
    tensors: tuple[Tensor, ...]
    ours: Callable[..., Results]
    expressions: dict[str, Callable[..., Results]]
    tolerance: float = 0.0
    """Relative, where the expression is not the same operations one by one."""
    compiled: bool = True
    """Whether the expressions are something that torch can compile."""

    @property
    def bytes(self) -> int:
        """Each operand read once, each result written once."""
        return sum(t.numel() * t.element_size() for t in (*self.tensors, *self.ours(*self.tensors)))


def stab(z: Tensor) -> Tensor:
    return z + EPS * torch.where(z >= 0, 1.0, -1.0)


def divide(relevance: Tensor, z: Tensor) -> Results:
    return (relevance / stab(z),)


def divide_by_sign(relevance: Tensor, z: Tensor) -> Results:
    return (relevance / (z + ((z == 0.0) + z.sign()) * EPS),)


def alpha_beta(relevance: Tensor, z: Tensor, z_plus: Tensor) -> Results:
    z_minus = (z - z_plus).clamp(max=0)
    return ALPHA * relevance / stab(z_plus), BETA * relevance / (z_minus - EPS - FLOOR * z_plus.abs())


def gamma(relevance: Tensor, z: Tensor, z_plus: Tensor) -> Results:
    positive = z >= 0
    share = relevance / stab(z + GAMMA * torch.where(positive, z_plus, z - z_plus))
    return torch.where(positive, share, (1 + GAMMA) * share), torch.where(positive, GAMMA, -GAMMA) * share


def combine(x: Tensor, g1: Tensor, g2: Tensor) -> Results:
    return (x * (1.0 * g1 + -1.0 * g2),)


def residual(relevance: Tensor, a: Tensor, b: Tensor) -> Results:
    share = relevance / stab(a + b)
    return a * share, b * share


def box(x: Tensor, g: Tensor, low: Tensor, high: Tensor) -> Results:
    back, plus, minus = g.chunk(3, dim=-3)
    return (x * back - low.view(-1, 1, 1) * plus - high.view(-1, 1, 1) * minus,)


def flat_by_ones(relevance: Tensor) -> Results:
    """With a weight of ones for every pair of channels; one of the equal input channels is returned."""
    ones = relevance.new_ones(relevance.shape[1], 3, 7, 7)
    cells = conv2d(relevance.new_ones(1, 3, 224, 224), ones[:1], stride=2, padding=3)
    return (conv_transpose2d(relevance / cells, ones, stride=2, padding=3, output_padding=1)[:, :1],)


def flat_by_sums(relevance: Tensor) -> Results:
    ones = relevance.new_ones(1, 1, 7, 7)
    cells = 3 * conv2d(relevance.new_ones(1, 1, 224, 224), ones, stride=2, padding=3)
    summed = relevance.sum(1, keepdim=True) / cells
    return (conv_transpose2d(summed, ones, stride=2, padding=3, output_padding=1),)


def ours(op: Callable[..., Tensor | Results], *parameters: float) -> Callable[..., Results]:
    def run(*tensors: Tensor) -> Results:
        results = op(*tensors, *parameters)
        return results if isinstance(results, tuple) else (results,)

    return run


ELEMENTWISE: dict[str, tuple[int, Callable[..., Results], dict[str, Callable[..., Results]]]] = {
    "stabilised_divide": (2, ours(ops.stabilised_divide, EPS), {"`where`": divide, "`sign`": divide_by_sign}),
    "alpha_beta_shares": (3, ours(ops.alpha_beta_shares, ALPHA, BETA, EPS), {"expression": alpha_beta}),
    "gamma_shares": (3, ours(ops.gamma_shares, GAMMA, EPS), {"expression": gamma}),
    "multiply_combine": (3, ours(ops.multiply_combine, 1.0, -1.0), {"expression": combine}),
    "residual_shares": (3, ours(ops.residual_shares, EPS), {"expression": residual}),
}


def dot(s: Tensor, z: Tensor) -> Tensor:
    return torch.einsum("...nl,nl->...n", s, z)


KEPT_EPS = 0.25
"""So large that what is kept is no rounding error of what is shared out, and sums can be compared."""
PLAIN: dict[str, tuple[Callable[..., Results], Callable[..., Results], Callable[..., Tensor]]] = {
    "stabilised_divide": (
        ours(ops.stabilised_divide, KEPT_EPS),
        ours(ops.stabilised_divide_and_kept, KEPT_EPS, 1),
        lambda r, z, s: r.sum(-1) - dot(s, z),
    ),
    "alpha_beta_shares": (
        ours(ops.alpha_beta_shares, ALPHA, BETA, KEPT_EPS),
        ours(ops.alpha_beta_shares_and_kept, ALPHA, BETA, KEPT_EPS, 1),
        lambda r, z, z_plus, s_plus, s_minus: r.sum(-1) - dot(s_plus, z_plus) + dot(s_minus, (z - z_plus).clamp(max=0)),
    ),
    "gamma_shares": (
        ours(ops.gamma_shares, GAMMA, KEPT_EPS),
        ours(ops.gamma_shares_and_kept, GAMMA, KEPT_EPS, 1),
        lambda r, z, z_plus, s_w, s_plus: r.sum(-1) - dot(s_w, z) - dot(s_plus, z_plus),
    ),
    "residual_shares": (
        ours(ops.residual_shares, KEPT_EPS),
        ours(ops.residual_shares_and_kept, KEPT_EPS, 1),
        lambda r, a, b, r_a, r_b: r.sum(-1) - r_a.sum(-1) - r_b.sum(-1),
    ),
}


def kept_cases(size: int, targets: int, device: str) -> Iterator[Case]:
    """Beside the op without the sums, and the op with sums that torch takes afterwards. For one image."""
    for case in elementwise_cases(size, targets, device):
        if case.name in PLAIN:
            plain, kept, sums = PLAIN[case.name]
            relevance, *activations = (tensor.unsqueeze(tensor.dim() - 1) for tensor in case.tensors)
            expressions = {"the op without the sums": plain, "the op, then torch's sums": _then(plain, sums)}
            tensors = (relevance.abs(), *activations)
            name = f"{case.name}_and_kept"
            yield Case(name, case.size, tensors, kept, expressions, tolerance=1e-3, compiled=False)


def _then(plain: Callable[..., Results], sums: Callable[..., Tensor]) -> Callable[..., Results]:
    def run(*tensors: Tensor) -> Results:
        shares = plain(*tensors)
        return *shares, sums(*tensors, *shares).double()

    return run


def elementwise_cases(size: int, targets: int, device: str) -> Iterator[Case]:
    """`targets` is 0 for none, else operands that the op repeats have as many blocks."""
    label = f"{targets} × {size:.0e}" if targets else f"{size:.0e}"
    for name, (count, run, expressions) in ELEMENTWISE.items():
        tensors = [_numbers((size,), seed, device) for seed in range(count)]
        repeated = (1, 2) if name == "multiply_combine" else (0,)
        for index in repeated if targets else ():
            tensors[index] = _numbers((targets, size), 10 + index, device)
        if count == 3 and name not in ("multiply_combine", "residual_shares"):
            tensors[2] = tensors[1].clamp(min=0) + tensors[2].abs()  # z_plus, of which z takes away
        yield Case(name, label, tuple(tensors), run, expressions)


def first_layer_cases(images: int, device: str) -> Iterator[Case]:
    """The first convolution of a ResNet: 64 channels of 112², from images of 3 · 224²."""
    x, low, high = _numbers((images, 3, 224, 224), 0, device), _numbers((3,), 1, device), _numbers((3,), 2, device)
    back = _numbers((images, 9, 224, 224), 3, device)
    relevance = _numbers((images, 64, 112, 112), 4, device)
    for layout, form in (("", torch.contiguous_format), (", channels_last", torch.channels_last)):
        pixels, g, r = (t.contiguous(memory_format=form) for t in (x, back, relevance))
        label = f"{images} × 224²{layout}"
        yield Case("box_combine", label, (pixels, g, low, high), ours(ops.box_combine), {"expression": box})
        yield Case(
            "flat_spread",
            label,
            (r,),
            ours(ops.flat_spread, 7, 2, 3, 1, (3, 224, 224)),
            {"convolutions with ones": flat_by_ones, "sums, one channel": flat_by_sums},
            tolerance=1e-4,
        )


def _numbers(shape: tuple[int, ...], seed: int, device: str) -> Tensor:
    """Normal numbers; every tenth a zero, every other one of these −0.0."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    values.view(-1)[::20] = 0.0
    values.view(-1)[10::20] = -0.0
    return values.to(device)
