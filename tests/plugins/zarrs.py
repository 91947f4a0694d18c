"""OME-Zarr written by hand, so that the reader is held against the specification and not against our own writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

KINDS = {"t": "time", "c": "channel"}


def write_zarr(
    place: Path | str,
    pixels: np.ndarray,
    *,
    version: str = "0.5",
    axes: str = "cyx",
    unit: str | None = "micrometer",
    scale: float = 0.5,
    whole: float | None = None,
    steps: Sequence[int] = (1, 4),
    changes: Mapping[str, Any] | None = None,
    **storage: Any,
) -> Path:
    """RGB or grey [H, W(, 3)] with a level of every n-th pixel for each step; `whole` scales all levels once more."""
    channels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    five = np.moveaxis(channels, 2, 0)[None, :, None]
    planes = five[tuple(slice(None) if axis in axes else 0 for axis in "tczyx")]
    root = zarr.open_group(place, mode="w", zarr_format=2 if version == "0.4" else 3)
    space = {"type": "space", **({"unit": unit} if unit else {})}
    multiscale: dict[str, Any] = {
        "axes": [{"name": a, **({"type": KINDS[a]} if a in KINDS else space)} for a in axes],
        "datasets": [
            {"path": str(i), "coordinateTransformations": [_scale(axes, scale * n)]} for i, n in enumerate(steps)
        ],
    }
    if whole is not None:
        multiscale["coordinateTransformations"] = [_scale(axes, whole)]
    ome: dict[str, Any] = {"multiscales": [multiscale], **(changes or {})}
    if version == "0.4":
        multiscale["version"] = version
        root.attrs.update(ome)
    else:
        root.attrs["ome"] = {"version": version, **ome}
    for i, n in enumerate(steps):
        level = np.ascontiguousarray(planes[..., ::n, ::n])
        options = {"chunks": (*level.shape[:-2], 64, 64), **storage}
        root.create_array(str(i), shape=level.shape, dtype=level.dtype, **options)[...] = level
    return Path(place) if isinstance(place, Path) else Path()


def _scale(axes: str, value: float) -> dict[str, Any]:
    return {"type": "scale", "scale": [value if axis in "yx" else 1.0 for axis in axes]}
