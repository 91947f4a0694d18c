"""From RGB pixels to what the model was trained to see. It comes with the model or is asked for, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from xaipipe.errors import InputError
from xaipipe.params import Params

_Positive = Annotated[float, Field(gt=0)]
_MOST_PIXELS = 1 << 27
"""Of a resized photograph: one that is a thousand times as wide as high would not fit in memory."""


class Preprocess(Params):
    """The `[preprocess]` table: size, mean, std, interpolation, target mpp."""

    size: int = Field(ge=1, description="side of the model's input in pixels")
    mean: tuple[float, float, float] = Field(description="subtracted from each channel of RGB in [0, 1]")
    std: tuple[_Positive, _Positive, _Positive] = Field(description="each channel is divided by this")
    interpolation: Literal["bilinear", "bicubic"] = Field("bilinear", description="how photographs are resized")
    crop: float = Field(1.0, gt=0, le=1, description="share of the resized short side that the centre crop keeps")
    mpp: float | None = Field(None, gt=0, description="µm per pixel the model was trained at; slides only")

    @classmethod
    def merged(cls, own: Preprocess | None, table: Mapping[str, Any], where: str) -> Self:
        """A model's own, with what a `[preprocess]` table says on top; complete, or a worded error."""
        return cls.parse({**(own.model_dump() if own else {}), **table}, where)

    @classmethod
    def check_table(cls, table: Mapping[str, Any], where: str) -> None:
        """Refuse unknown keys and impossible values early, when the rest may still come with the model."""
        cls.parse({"size": 1, "mean": (0, 0, 0), "std": (1, 1, 1), **table}, where)

    def normalise(self, rgb: np.ndarray[Any, Any]) -> Tensor:
        """uint8[…, h, w, 3] to float32[…, 3, h, w]."""
        pixels = torch.from_numpy(np.ascontiguousarray(rgb)).movedim(-1, -3).to(torch.float32)
        mean = torch.tensor(self.mean)[:, None, None] * 255
        std = torch.tensor(self.std)[:, None, None] * 255
        return ((pixels - mean) / std).contiguous()

    def fit_photograph(self, rgb: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A photograph as the model sees it: short side resized, centre cropped to size × size, uint8."""
        h, w = rgb.shape[:2]
        short = round(self.size / self.crop)
        height, width = (short, round(short * w / h)) if h <= w else (round(short * h / w), short)
        if height * width > _MOST_PIXELS:
            raise InputError(
                "the photograph is too long and narrow for the model",
                got=f"{h} × {w} pixels, resized {height} × {width}",
                expected=f"at most {_MOST_PIXELS} pixels when its short side is {short}",
                hint="cut out the part to explain",
            )
        resized = _resize(rgb, height, width, self.interpolation)
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return resized[top : top + self.size, left : left + self.size]


def _resize(rgb: np.ndarray[Any, Any], height: int, width: int, mode: str) -> np.ndarray[Any, Any]:
    pixels = torch.from_numpy(np.ascontiguousarray(rgb)).movedim(-1, 0)[None].float()
    resized = F.interpolate(pixels, (height, width), mode=mode, antialias=True, align_corners=False)
    result: np.ndarray[Any, Any] = resized[0].round().clamp(0, 255).byte().movedim(0, -1).numpy()
    return result
