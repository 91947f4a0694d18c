"""Pictures of maps, for people. Values are only scaled here, never where they are made or kept."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import torch
from torch import Tensor

from xaipipe.errors import StorageError, UsageError
from xaipipe.types import Explanation

_HEAT = np.array([[20, 12, 60], [110, 20, 120], [215, 50, 85], [250, 140, 45], [255, 240, 150]], np.float64)
_SIGNED = np.array([[25, 70, 170], [130, 175, 225], [245, 245, 245], [240, 155, 110], [175, 25, 40]], np.float64)


@dataclass(frozen=True, eq=False)
class Picture:
    """An RGB picture that shows itself in a notebook and saves itself as PNG."""

    rgb: np.ndarray[Any, Any]

    def save(self, path: str | Path) -> Path:
        path = Path(path)
        try:
            path.write_bytes(self._repr_png_())
        except OSError as error:
            raise StorageError("the picture cannot be written", got=error.strerror, where=path) from None
        return path

    def _repr_png_(self) -> bytes:
        return bytes(imagecodecs.png_encode(np.ascontiguousarray(self.rgb), level=6))


def coloured(
    values: np.ndarray[Any, Any], limit: float | None = None, signed: bool | None = None
) -> np.ndarray[Any, Any]:
    """uint8 colours of a map [h, w]: diverging about zero where values are signed, else dark to bright.

    `signed` is for parts of a map, which do not know of each other.
    """
    limit = limit or display_limit(values)
    if values.min(initial=0) < 0 if signed is None else signed:
        return _ramp(_SIGNED, (values / limit + 1) / 2)
    return _ramp(_HEAT, values / limit)


def display_limit(values: np.ndarray[Any, Any]) -> float:
    """The value that is shown in full colour: nearly the largest, so that one cell cannot darken the rest."""
    return float(np.quantile(np.abs(values), 0.999)) or float(np.abs(values).max(initial=0)) or 1.0


def overlay(
    rgb: np.ndarray[Any, Any],
    values: np.ndarray[Any, Any],
    limit: float | None = None,
    signed: bool | None = None,
) -> np.ndarray[Any, Any]:
    """A map [h, w] over a picture [h, w, 3]: the stronger the evidence, the more of its colour."""
    limit = limit or display_limit(values)
    strength = np.clip(np.abs(values) / limit, 0, 1)[..., None] * 0.75
    blended: np.ndarray[Any, Any] = np.rint(rgb * (1 - strength) + coloured(values, limit, signed) * strength)
    return blended.astype(np.uint8)


def explanation_picture(explanation: Explanation, x: Tensor | None, image: int) -> Picture:
    """One map at input resolution, over its input where that is given (scaled to its own range)."""
    if not 0 <= image < len(explanation):
        raise UsageError("there is no such image", got=image, expected=f"0 … {len(explanation) - 1}")
    if x is not None and (not isinstance(x, Tensor) or tuple(x.shape[-2:]) != tuple(explanation.input_size)):
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise UsageError("the picture is not the input that was explained", got=got, expected=explanation.input_size)
    values = explanation.to_input()[image].detach().float().cpu()
    flat = (values.sum(dim=0) if len(values) > 1 else values[0]).numpy()
    if x is None:
        return Picture(coloured(flat))
    return Picture(overlay(_as_rgb(x[image]), flat))


def explanation_html(explanation: Explanation) -> str:
    """Every map of the batch with its target and score."""
    figures = []
    for image, target in enumerate(explanation.targets):
        png = base64.b64encode(explanation_picture(explanation, None, image)._repr_png_()).decode()
        score = float(explanation.scores[image])
        figures.append(
            f'<figure style="display:inline-block;margin:4px">'
            f'<img src="data:image/png;base64,{png}" alt="map of target {target}">'
            f"<figcaption>target {target}, score {score:.4g}</figcaption></figure>"
        )
    return "".join(figures)


def _as_rgb(x: Tensor) -> np.ndarray[Any, Any]:
    pixels = x.detach().float().cpu()
    pixels = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    low, high = pixels.min(), pixels.max()
    scaled = ((pixels - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)
    rgb: np.ndarray[Any, Any] = scaled.movedim(0, -1).numpy()
    return rgb


def _ramp(anchors: np.ndarray[Any, Any], share: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    position = np.clip(share, 0, 1) * (len(anchors) - 1)
    channels = [np.interp(position, np.arange(len(anchors)), anchors[:, c]) for c in range(3)]
    colours: np.ndarray[Any, Any] = np.rint(np.stack(channels, axis=-1))
    return colours.astype(np.uint8)
