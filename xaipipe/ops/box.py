"""What pixels receive from a first layer when they are known to lie between two bounds (LRP's z_box)."""

import math
from typing import Any

import torch
from torch import Tensor

from xaipipe.ops import _checks, _images, _library

_NAME = "box_combine"


def box_combine(x: Tensor, g: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x·g_w − low·g_plus − high·g_minus, for what a first layer hands back to pixels between `low` and `high`.

    `x` is [N, C, ...]. `g` is [N, 3·C, ...], or has axes for targets before that: one transposed convolution with the
    weights w, w₊ and w₋ stacked along the input channels, so that its channels are those of g_w, g_plus and g_minus.
    `low` and `high` hold one number a channel, [C], and are taken in the type computed in (float32 for bfloat16).
    Types as in `stabilised_divide`; channels_last is read where it lies, and the result lies as `g` does.
    Not differentiable.

    Reference: Montavon et al., Explaining nonlinear classification decisions with deep Taylor decomposition,
    Pattern Recognition 65, 2017.
    """
    tensors = {"x": x, "g": g, "low": low, "high": high}
    _checks.require_tensors(_NAME, **tensors)
    _checks.refuse_forward_mode(_NAME)
    _checks.refuse_gradients(_NAME, **tensors)
    result: Tensor = _op(x, g, low, high)
    return result


def _fake(x: Tensor, g: Tensor, low: Tensor, high: Tensor) -> Tensor:
    _require(x, g, low, high)
    leading = g.dim() - x.dim() + 1
    images = _images.as_images(g, leading)
    result = _images.empty_images(g, images.shape[0], x.shape[1], images.shape[2], _images.is_channels_last(images))
    return result.view(*g.shape[:leading], *x.shape[1:])


def _implementation(x: Tensor, g: Tensor, low: Tensor, high: Tensor) -> Tensor:
    out = _fake(x, g, low, high)
    if out.numel() == 0:
        return out
    back = _images.as_images(g, g.dim() - x.dim() + 1)
    channels_last = _images.is_channels_last(back)
    pixels = _images.laid_out(_images.as_images(x, 1), channels_last)
    back = _images.laid_out(back, channels_last)
    bounds = [_images.contiguous(bound.to(_library.computed_in(x.dtype))) for bound in (low, high)]
    run, place = _library.runner(_NAME, x.device)
    call = _library.kernels().BoxCombine(
        _library.DTYPE_CODES[x.dtype],
        channels_last,
        repeats=back.shape[0] // x.shape[0],
        images=x.shape[0],
        channels=x.shape[1],
        points=math.prod(x.shape[2:]),
        x=pixels.data_ptr(),
        g=back.data_ptr(),
        low=bounds[0].data_ptr(),
        high=bounds[1].data_ptr(),
        out=out.data_ptr(),
    )
    run(call, *place)
    return out


def _require(x: Tensor, g: Tensor, low: Tensor, high: Tensor) -> None:
    _checks.require_same_kind(_NAME, x=x, g=g)
    if x.dim() < 2:
        raise ValueError(f"{_NAME}: got x of shape {tuple(x.shape)}, expected [N, C, ...]; add axes with .unsqueeze")
    expected = (x.shape[0], 3 * x.shape[1], *x.shape[2:])
    if g.dim() < x.dim() or tuple(g.shape[g.dim() - x.dim() :]) != expected:
        raise ValueError(
            f"{_NAME}: got g of shape {tuple(g.shape)}, expected (*, {', '.join(map(str, expected))}): three times the "
            "channels of x, with axes for targets before them, if any; stack w, w₊ and w₋ along the input channels"
        )
    for name, bound in (("low", low), ("high", high)):
        if bound.shape != (x.shape[1],) or bound.device != x.device or not bound.is_floating_point():
            raise ValueError(
                f"{_NAME}: got {name} of shape {tuple(bound.shape)}, {bound.dtype} on {bound.device}, expected "
                f"({x.shape[1]},), floating point on {x.device}: one number a channel of x"
            )


def _vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Tensor, int]:
    """A batch of g alone is one more axis of targets; with its own x each, it is a batch of more images."""
    if in_dims[2] is not None or in_dims[3] is not None:
        results = [
            _op(*(t if d is None else t.select(d, i) for t, d in zip(tensors, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        return torch.stack(results), 0
    x, g, low, high = tensors
    if in_dims[0] is None:
        assert in_dims[1] is not None
        return _op(x, g.movedim(in_dims[1], 0), low, high), 0
    x = x.movedim(in_dims[0], 0)
    targets = g.dim() - (in_dims[1] is not None) - (x.dim() - 1)
    g = _library.with_batch(g, in_dims[1], targets, info.batch_size)
    result: Tensor = _op(x.flatten(0, 1), g.flatten(targets, targets + 1), low, high)
    return result.view(*result.shape[:targets], *x.shape[:2], *result.shape[targets + 1 :]), targets


_op = _library.define(f"{_NAME}(Tensor x, Tensor g, Tensor low, Tensor high) -> Tensor", _implementation, _fake, _vmap)
