"""LRP's flat rule for convolutions."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from xaipipe.ops import _checks, _images, _library

_NAME = "flat_spread"
Pair = int | tuple[int, int]


def flat_spread(
    relevance: Tensor, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, size: tuple[int, int, int]
) -> Tensor:
    """Each output cell of a 2-D convolution divides its relevance equally among the input cells in its window.

    `relevance` is [..., C_out, H_out, W_out] and `size` that of the input, (C_in, H, W). The result is [..., 1, H, W],
    what every input channel receives: `.expand(..., C_in, H, W)` of it sums to the relevance. Padding gets nothing: an
    output cell divides by C_in times the number of cells of its window that lie inside the image, and only the
    relevance of windows that lie in the padding altogether is lost.
    `padding` is the number of rows and columns before the image; after it there may be one more, as torch's "same" has
    it. Convolutions in groups are not meant. Types and layouts as in `stabilised_divide`. Not differentiable.

    Reference: Lapuschkin et al., Unmasking Clever Hans predictors and assessing what machines really learn,
    Nature Communications 10, 2019.
    """
    _checks.require_tensors(_NAME, relevance=relevance)
    _checks.refuse_forward_mode(_NAME)
    _checks.refuse_gradients(_NAME, relevance=relevance)
    geometry = [
        _numbers("kernel", kernel, 1),
        _numbers("stride", stride, 1),
        _numbers("padding", padding, 0),
        _numbers("dilation", dilation, 1),
    ]
    result: Tensor = _op(relevance, *geometry, _numbers("size", size, 0, count=3))
    return result


def _numbers(name: str, value: int | Sequence[int], least: int, count: int = 2) -> list[int]:
    numbers = [value] * count if isinstance(value, int) and count == 2 else value
    if not isinstance(numbers, Sequence) or len(numbers) != count:
        raise ValueError(f"{_NAME}: got {name} {value!r}, expected {count} whole numbers")
    if not all(isinstance(number, int) and number >= least for number in numbers):
        raise ValueError(f"{_NAME}: got {name} {value!r}, expected whole numbers of {least} or more")
    return list(numbers)


def _fake(
    relevance: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], size: list[int]
) -> Tensor:
    _checks.require_same_kind(_NAME, relevance=relevance)
    if relevance.dim() < 3:
        raise ValueError(
            f"{_NAME}: got relevance of shape {tuple(relevance.shape)}, expected (*, C, H, W), the output of a "
            "two-dimensional convolution; add axes with .unsqueeze"
        )
    if size[0] < 1:
        raise ValueError(f"{_NAME}: got size {tuple(size)}, expected (C, H, W) of the input, with C of 1 or more")
    for axis, name in enumerate(("rows", "columns")):
        got = relevance.shape[axis - 2]
        room = size[axis + 1] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1
        if got not in (room // stride[axis] + 1, (room + 1) // stride[axis] + 1):
            raise ValueError(
                f"{_NAME}: got relevance with {got} {name}, expected {room // stride[axis] + 1}: what a convolution "
                f"makes of {size[axis + 1]} with kernel {kernel[axis]}, stride {stride[axis]}, padding "
                f"{padding[axis]} and dilation {dilation[axis]}"
            )
    return relevance.new_empty(*relevance.shape[:-3], 1, *size[1:])


def _implementation(
    relevance: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], size: list[int]
) -> Tensor:
    out = _fake(relevance, kernel, stride, padding, dilation, size)
    if out.numel() == 0:
        return out
    images = _images.as_images(relevance, relevance.dim() - 3)
    channels_last = _images.is_channels_last(images)
    laid_out = _images.laid_out(images, channels_last)
    run, place = _library.runner(_NAME, relevance.device)
    call = _library.kernels().FlatSpread(
        _library.DTYPE_CODES[relevance.dtype],
        channels_last,
        batch=math.prod(relevance.shape[:-3]),
        channels=relevance.shape[-3],
        input_channels=size[0],
        size_out=relevance.shape[-2:],
        size_in=size[1:],
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        relevance=laid_out.data_ptr(),
        out=out.data_ptr(),
    )
    workspace = relevance.new_empty(call.workspace_elements(), dtype=_library.computed_in(relevance.dtype))
    call.use_workspace(workspace.data_ptr())
    run(call, *place)
    return out


def _vmap(info: Any, in_dims: tuple[int | None, ...], relevance: Tensor, *geometry: Any) -> tuple[Tensor, int]:
    assert in_dims[0] is not None
    return _op(relevance.movedim(in_dims[0], 0), *geometry), 0


_op = _library.define(
    f"{_NAME}(Tensor relevance, SymInt[] kernel, SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt[] size)"
    " -> Tensor",
    _implementation,
    _fake,
    _vmap,
)
