"""What an image is compared with: the reference of methods that explain a difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, WithJsonSchema
from torch import Tensor
from torch.nn import functional as F

from xaipipe.errors import UsageError, did_you_mean

_BLUR = 1 / 20
"""The standard deviation of the blur, as a share of the image's shorter side."""


Colour = tuple[float, ...]
"""A number for each channel, preprocessed as the images are: the same everywhere."""


def _parse(value: Any) -> Any:
    if isinstance(value, str):
        if value not in MAKERS:
            names = ", ".join(map(repr, MAKERS))
            raise ValueError(f"{names}, a colour, or from Python a tensor; {did_you_mean(value, MAKERS)}")
        return value
    if isinstance(value, list | tuple):
        return _parse_colour(value)
    return _checked(value, (3, 4), "[C, H, W], [1, C, H, W] or [N, C, H, W]")


def parse_references(value: Any) -> Tensor:
    """A distribution as it is given, checked; for parameters that may also be something else."""
    return _checked(value, (4,), "[R, C, H, W]")


def _parse_distribution(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return parse_references(value)
    colours = tuple(map(_parse_colour, value))
    if len({len(colour) for colour in colours}) != 1:
        raise ValueError("one colour or more, each with as many numbers as images have channels")
    return colours


def _parse_colour(value: Any) -> Colour:
    numbers = value if isinstance(value, list | tuple) else ()
    if not numbers or not all(isinstance(one, int | float) and math.isfinite(one) for one in numbers):
        raise ValueError("a colour: a finite number for each channel, preprocessed as the images are")
    return tuple(map(float, numbers))


def _checked(value: Any, dimensions: tuple[int, ...], shapes: str) -> Tensor:
    expected = f"a floating point tensor {shapes} of finite numbers, preprocessed as the images are"
    if not isinstance(value, Tensor):
        raise ValueError(expected)
    if value.ndim not in dimensions or not value.numel() or not value.is_floating_point():
        raise ValueError(f"{expected}; this one is {tuple(value.shape)} {value.dtype}")
    if not bool(value.isfinite().all()):
        raise ValueError(f"{expected}; this one holds NaN or infinity")
    return value.detach()


_COLOUR = {"type": "array", "items": {"type": "number"}}
Reference = Annotated[
    Tensor | Colour | Literal["zeros", "mean", "blurred"],
    BeforeValidator(_parse),
    WithJsonSchema({"anyOf": [{"enum": ["zeros", "mean", "blurred"]}, _COLOUR]}),
]
"""One reference an image: a name, a colour, or (from Python) a tensor [C, H, W], [1, C, H, W] or [N, C, H, W].

Zeros are what preprocessing makes of the training images' mean colour. `mean` is the mean of each channel of the
image, and `blurred` the image under a Gaussian whose standard deviation is a twentieth of its shorter side.
"""

References = Annotated[
    Tensor | tuple[Colour, ...],
    BeforeValidator(_parse_distribution),
    WithJsonSchema({"type": "array", "items": _COLOUR}),
]
"""A distribution of references, the same for all images: colours, or (from Python) a tensor [R, C, H, W]."""


def reference_for(chosen: Tensor | Colour | str, pixels: Tensor) -> Tensor:
    """The reference [N, C, H, W] of each image, in the pixels' precision and on their device."""
    if isinstance(chosen, str):
        return MAKERS[chosen](pixels)
    if isinstance(chosen, tuple):
        return _painted((chosen,), pixels).expand_as(pixels)
    given = chosen if chosen.ndim == 4 else chosen[None]
    _require_fit(given, pixels)
    if len(given) not in (1, len(pixels)):
        raise UsageError(
            "there are references for another number of images",
            got=f"{len(given)} references",
            expected=f"1, or {len(pixels)}: one an image",
        )
    return given.to(pixels.device, pixels.dtype).expand_as(pixels)


def references_for(chosen: Tensor | tuple[Colour, ...], pixels: Tensor) -> Tensor:
    """A distribution of references [R, C, H, W], in the pixels' precision and on their device."""
    if isinstance(chosen, tuple):
        return _painted(chosen, pixels)
    _require_fit(chosen, pixels)
    return chosen.to(pixels.device, pixels.dtype)


def blurred(pixels: Tensor) -> Tensor:
    """Each channel under a Gaussian; what lies beyond the image is like its nearest pixel."""
    sigma = _BLUR * min(pixels.shape[2:])
    reach = max(1, math.ceil(3 * sigma))
    places = torch.arange(-reach, reach + 1, dtype=torch.float64, device=pixels.device)
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    weights = weights / weights.sum()
    wide = pixels.detach().double().flatten(0, 1)[:, None]  # in float64 no GPU rounds to fewer bits than it was given
    wide = F.conv2d(F.pad(wide, (0, 0, reach, reach), "replicate"), weights[None, None, :, None])
    wide = F.conv2d(F.pad(wide, (reach, reach, 0, 0), "replicate"), weights[None, None, None, :])
    return wide.reshape(pixels.shape).to(pixels.dtype)


def _mean(pixels: Tensor) -> Tensor:
    wide = pixels.detach().to(torch.promote_types(pixels.dtype, torch.float32))
    return wide.mean(dim=(2, 3), keepdim=True).to(pixels.dtype).expand_as(pixels)


MAKERS: dict[str, Callable[[Tensor], Tensor]] = {"zeros": torch.zeros_like, "mean": _mean, "blurred": blurred}
"""How a reference that has a name is made of the images."""


def _painted(colours: tuple[Colour, ...], pixels: Tensor) -> Tensor:
    """[R, C, H, W]"""
    if len(colours[0]) != pixels.shape[1]:
        raise UsageError(
            "the reference's colour does not fit the channels",
            got=f"{len(colours[0])} numbers",
            expected=f"{pixels.shape[1]}: one a channel",
        )
    painted = torch.tensor(colours, dtype=torch.float64, device="cpu").to(pixels.device, pixels.dtype)
    return painted[:, :, None, None].expand(-1, -1, *pixels.shape[2:])


def _require_fit(given: Tensor, pixels: Tensor) -> None:
    if given.shape[1:] != pixels.shape[1:]:
        raise UsageError(
            "the reference has another shape than the images",
            got=tuple(given.shape[1:]),
            expected=f"{tuple(pixels.shape[1:])}: channels, height, width",
            hint="preprocess and resize it as the images were",
        )
