"""Pictures of maps, for people. Values are only scaled here, never where they are made or kept."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import torch
from torch import Tensor

from xaipipe.errors import StorageError, UsageError
from xaipipe.types import Explanation

Colours = Literal["auto", "heat", "viridis", "grey", "diverging"]
_RAMPS = {
    "heat": np.array([[20, 12, 60], [110, 20, 120], [215, 50, 85], [250, 140, 45], [255, 240, 150]], np.float64),
    "viridis": np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], np.float64),
    "grey": np.array([[0, 0, 0], [255, 255, 255]], np.float64),
    "diverging": np.array(
        [[25, 70, 170], [130, 175, 225], [245, 245, 245], [240, 155, 110], [175, 25, 40]], np.float64
    ),
}


@dataclass(frozen=True)
class Style:
    """How a map is shown; its values stay as they are."""

    colours: Colours = "auto"
    """'auto' is diverging about zero where values are signed, else heat."""
    opacity: float = 0.75
    """Over a picture, of the strongest evidence."""
    percentile: float = 99.0
    """Of the magnitudes, but for zeros: the one from which on colours are full, so that few cells cannot hide the rest.

    At the pixels the largest magnitude is often ten times as large as what most of the evidence is made of."""
    legend: bool = False

    @classmethod
    def of(cls, explanation: Explanation) -> Style:
        return cls(**explanation.diagnostics.get("display", {}))

    def limit(self, values: np.ndarray[Any, Any]) -> float:
        """The value in full colour."""
        magnitudes = np.abs(values[values != 0])
        return float(np.quantile(magnitudes, self.percentile / 100)) if magnitudes.size else 1.0


def styled(explanation: Explanation, **changes: Any) -> Explanation:
    """The same map, to be shown in another way."""
    style = replace(Style.of(explanation), **changes)
    return explanation.replace(diagnostics={**explanation.diagnostics, "display": asdict(style)})


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
    values: np.ndarray[Any, Any],
    limit: float | None = None,
    signed: bool | None = None,
    style: Style | None = None,
) -> np.ndarray[Any, Any]:
    """uint8 colours of a map [h, w]: diverging about zero where values are signed, else dark to bright.

    `signed` is for parts of a map, which do not know of each other.
    """
    style = style or Style()
    limit = limit or style.limit(values)
    signed = bool(values.min(initial=0) < 0) if signed is None else signed
    name = ("diverging" if signed else "heat") if style.colours == "auto" else style.colours
    about_zero = signed or name == "diverging"
    return _ramp(_RAMPS[name], (values / limit + 1) / 2 if about_zero else values / limit)


def overlay(
    rgb: np.ndarray[Any, Any],
    values: np.ndarray[Any, Any],
    limit: float | None = None,
    signed: bool | None = None,
    style: Style | None = None,
) -> np.ndarray[Any, Any]:
    """A map [h, w] over a picture [h, w, 3]: the stronger the evidence, the more of its colour."""
    style = style or Style()
    limit = limit or style.limit(values)
    strength = np.clip(np.abs(values) / limit, 0, 1)[..., None] * style.opacity
    blended: np.ndarray[Any, Any] = np.rint(rgb * (1 - strength) + coloured(values, limit, signed, style) * strength)
    return blended.astype(np.uint8)


def explanation_picture(explanation: Explanation, x: Tensor | None, image: int) -> Picture:
    """One map at input resolution, over its input where that is given (scaled to its own range)."""
    if not 0 <= image < len(explanation):
        raise UsageError("there is no such image", got=image, expected=f"0 … {len(explanation) - 1}")
    if x is not None and (not isinstance(x, Tensor) or tuple(x.shape[-2:]) != tuple(explanation.input_size)):
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise UsageError("the picture is not the input that was explained", got=got, expected=explanation.input_size)
    from xaipipe.panels import drawn

    return Picture(drawn(explanation, None if x is None else _as_rgb(x[image]), image))


def flattened(explanation: Explanation, image: int = 0) -> np.ndarray[Any, Any]:
    """One map [H, W] at input resolution, its channels together."""
    flat: np.ndarray[Any, Any] = explanation.to_input()[image].detach().float().sum(dim=0).cpu().numpy()
    return flat


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
