"""Norms: linear once the statistics of their input are held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from xaipipe.propagation.calls import Call
from xaipipe.propagation.marks import Maker, Mark
from xaipipe.propagation.operators.described import Described, Describer, Surroundings
from xaipipe.propagation.operators.elementwise import described
from xaipipe.propagation.weighted import Weighted
from xaipipe.propagation.weights import Folding, norm_as_affine

Hold = Callable[[Tensor], Tensor]
"""What is done with the input where statistics are taken of it: detached, they are held; as it is, they are not."""


def held(call: Call, formula: Callable[[Tensor, Hold], Tensor]) -> Described | None:
    """A norm as the linear function that it is for the statistics which this input has, and in its parts."""
    if len(call.operands) != 1 or not call.depends(0, "input"):
        return None
    (mark,) = call.marks
    return described(
        "norm",
        call,
        mark.passed_on(False),
        linearised=lambda x: formula(x, torch.detach),
        parts=lambda x: formula(x, lambda x: x),
    )


def _layer_norm(call: Call, _: Surroundings) -> Described | None:
    shape, weight, bias = call.get(1, "normalized_shape"), call.get(2, "weight"), call.get(3, "bias")
    eps = call.get(4, "eps", 1e-5)
    dims = tuple(range(-len(shape), 0))

    def formula(x: Tensor, hold: Hold) -> Tensor:
        wide = x.float() if x.dtype in (torch.half, torch.bfloat16) else x
        return _affine(_standardised(wide, dims, eps, hold).to(x.dtype), weight, bias)

    return held(call, formula)


def _rms_norm(call: Call, _: Surroundings) -> Described | None:
    shape, weight, eps = call.get(1, "normalized_shape"), call.get(2, "weight"), call.get(3, "eps")
    dims = tuple(range(-len(shape), 0))

    def formula(x: Tensor, hold: Hold) -> Tensor:
        floor = torch.finfo(x.dtype).eps if eps is None else eps
        scaled = x * (hold(x).square().mean(dim=dims, keepdim=True) + floor).rsqrt()
        return _affine(scaled, weight, None)

    return held(call, formula)


def _group_norm(call: Call, _: Surroundings) -> Described | None:
    groups, weight, bias = call.get(1, "num_groups"), call.get(2, "weight"), call.get(3, "bias")
    return held(call, _grouped(groups, weight, bias, call.get(4, "eps", 1e-5)))


def _instance_norm(call: Call, _: Surroundings) -> Described | None:
    norm = statistics_and_weights(call)
    if call.get(5, "use_input_stats", True):
        return held(call, _grouped(None, *norm[2:]))
    return _affine_per_channel(call, norm)


def statistics_and_weights(call: Call) -> Folding:
    """Of batch and instance norms: torch's builtins have their arguments in another order than its functions."""
    statistics, weights = ((3, 4), (1, 2)) if len(call.args) >= 9 else ((1, 2), (3, 4))
    mean, variance = (call.get(i, name) for i, name in zip(statistics, ("running_mean", "running_var"), strict=True))
    weight, bias = (call.get(i, name) for i, name in zip(weights, ("weight", "bias"), strict=True))
    return mean, variance, weight, bias, call.get(7, "eps", 1e-5)


def _grouped(
    groups: int | None, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Callable[[Tensor, Hold], Tensor]:
    def formula(x: Tensor, hold: Hold) -> Tensor:
        grouped = x.reshape(len(x), groups or x.shape[1], -1)
        return _per_channel(_standardised(grouped, (2,), eps, hold).reshape(x.shape), weight, bias)

    return formula


def _standardised(x: Tensor, dims: tuple[int, ...], eps: float, hold: Hold) -> Tensor:
    centred = x - x.mean(dim=dims, keepdim=True)
    return centred * (hold(centred).square().mean(dim=dims, keepdim=True) + eps).rsqrt()


def _batch_norm(call: Call, _: Surroundings) -> Described | None:
    """By running statistics it is affine: folded into the layer before it, or standing alone."""
    if call.name == "native_batch_norm" or len(call.operands) != 1 or not call.depends(0, "input"):
        return None
    norm = statistics_and_weights(call)
    if call.get(5, "training", False):
        return _by_batch(call, *norm[2:])
    return _folded(call, norm) or _affine_per_channel(call, norm)


def _by_batch(call: Call, weight: Tensor | None, bias: Tensor | None, eps: float) -> Described | None:
    def formula(x: Tensor, hold: Hold) -> Tensor:
        return _per_channel(_standardised(x, (0, *range(2, x.ndim)), eps, hold), weight, bias)

    return held(call, formula)


def _folded(call: Call, norm: Folding) -> Described | None:
    """Together with the layer whose output it reads, where its channels are that layer's."""
    (mark,) = call.marks
    if mark.maker is None or not isinstance(mark.maker.operation, Weighted):
        return None
    layer, (x,) = mark.maker.operation, mark.maker.operands
    channel = layer.form.channels % call.operands[0].ndim
    if channel != 1:
        return None
    together = layer.followed_by(norm)
    ready = partial(call.function, *call.args, **call.kwargs)
    return Described(
        together, Mark(behind=mark.behind, maker=Maker(together, (x,)), through=mark.through), (x,), ready=ready
    )


def _affine_per_channel(call: Call, norm: Folding) -> Described:
    (mark,) = call.marks
    x = call.operands[0]
    factor, shift = norm_as_affine(norm, x.dtype)
    shape = (1, -1, *[1] * (x.ndim - 2))
    factor, shift = factor.reshape(shape), shift.reshape(shape)
    # not torch's own: on the CPU its gradient is wrong for single images whose gradient has channels last
    found = described("scale", call, mark.passed_on(False), run=lambda x: x * factor + shift, shift=shift)
    return replace(found, ready=partial(call.function, *call.args, **call.kwargs))


def _per_channel(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (1, -1, *[1] * (x.ndim - 2))
    return _affine(x, *(None if t is None else t.reshape(shape) for t in (weight, bias)))


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    scaled = x if weight is None else x * weight
    return scaled if bias is None else scaled + bias


def _normalize(call: Call, _: Surroundings) -> Described | None:
    p, dim, eps = call.get(1, "p", 2.0), call.get(2, "dim", 1), call.get(3, "eps", 1e-12)

    def formula(x: Tensor, hold: Hold) -> Tensor:
        normalised: Tensor = x / hold(x).norm(p, dim, keepdim=True).clamp_min(eps)
        return normalised

    return held(call, formula)


def _local_response_norm(call: Call, _: Surroundings) -> Described | None:
    size, alpha = call.get(1, "size"), call.get(2, "alpha", 1e-4)
    beta, k = call.get(3, "beta", 0.75), call.get(4, "k", 1.0)

    def formula(x: Tensor, hold: Hold) -> Tensor:
        squares = hold(x).square().reshape(len(x), 1, x.shape[1], -1)
        before, behind = size // 2, (size - 1) // 2
        around = F.avg_pool2d(F.pad(squares, (0, 0, before, behind)), (size, 1), stride=1).reshape(x.shape)
        scaled: Tensor = x * (around * alpha + k).pow(-beta)
        return scaled

    return held(call, formula)


NORMS: dict[str, Describer] = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "normalize": _normalize,
    "local_response_norm": _local_response_norm,
}
