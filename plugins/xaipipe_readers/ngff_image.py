"""What the metadata of an OME-NGFF image says: its axes, its levels, its micrometres per pixel, its colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xaipipe import InputError, Level
from xaipipe_readers.levels import downsample_of

_UNITS = {
    "angstrom": 1e-4,
    "picometer": 1e-6,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
    "inch": 25_400.0,
}
"""Micrometres in the units of length that anybody measures slides in."""
_AXES = ("t", "c", "z", "y", "x")
_RGB = ("FF0000", "00FF00", "0000FF")
_VERSIONS = ("0.4", "0.5")


@dataclass(frozen=True)
class NgffImage:
    """One multiscale image: the paths of its levels, and how to read them."""

    axes: tuple[str, ...]
    paths: tuple[str, ...]
    spacings: tuple[tuple[float, float], ...]
    """Of each level along y and x, in the axes' units."""
    micrometres: tuple[float, float] | None
    """Of the axes' units along y and x; None where they name none."""
    channels: tuple[Mapping[str, Any], ...]
    """How `omero` wants the channels shown; empty where it says nothing."""

    @classmethod
    def of(cls, ome: Mapping[str, Any], where: object) -> NgffImage:
        """From the group's metadata; the first of several multiscales is the image."""
        multiscale = ome["multiscales"][0]
        _check_version(ome.get("version", multiscale.get("version", "0.4")), where)
        axes = [dict(axis) for axis in multiscale["axes"]]
        names = tuple(str(axis["name"]).lower() for axis in axes)
        _check_axes(names, where)
        whole = _scale(multiscale.get("coordinateTransformations", ()), len(names))
        scales = [_scale(level["coordinateTransformations"], len(names)) for level in multiscale["datasets"]]
        units = [_UNITS.get(str(axis.get("unit")).lower()) for axis in axes[-2:]]
        y, x = units
        return cls(
            axes=names,
            paths=tuple(str(level["path"]) for level in multiscale["datasets"]),
            spacings=tuple((scale[-2] * whole[-2], scale[-1] * whole[-1]) for scale in scales),
            micrometres=None if y is None or x is None else (y, x),
            channels=tuple(ome.get("omero", {}).get("channels", ())),
        )

    def mpp(self, where: object) -> float | None:
        """Micrometres per level-0 pixel; None where the axes name no unit."""
        if self.micrometres is None:
            return None
        y, x = (spacing * unit for spacing, unit in zip(self.spacings[0], self.micrometres, strict=True))
        if not (y > 0 and x > 0):
            return None
        if abs(x - y) > 0.01 * x:
            raise InputError("the slide's pixels are not square", got=f"{x:.4g} × {y:.4g} µm", where=where)
        return x

    def levels(self, sizes: Sequence[tuple[int, int]]) -> tuple[Level, ...]:
        """Of arrays of these sizes; the metadata's ratio where it fits them, else that of the sizes."""
        base = self.spacings[0]
        ratios = [(y / base[0] + x / base[1]) / 2 if base[0] and base[1] else 0.0 for y, x in self.spacings]
        return tuple(
            Level(h, w, downsample_of(sizes[0], (h, w), ratio)) for (h, w), ratio in zip(sizes, ratios, strict=True)
        )

    def check_colours(self, channels: int, where: object) -> None:
        """Stained light as RGB or grey; channels of fluorescence are refused."""
        colours = tuple(str(channel.get("color", "")).upper() for channel in self.channels)
        mixed = channels == 3 and len(colours) == 3 and all(colours) and colours != _RGB
        if channels not in (1, 3) or mixed:
            raise InputError(
                "the slide's channels are not red, green and blue",
                got=f"{channels} channels" + (f" of the colours {', '.join(colours)}" if mixed else ""),
                expected="RGB, or one channel of grey",
                where=where,
                hint="convert the channels that the model was trained on to RGB",
            )


def _check_version(version: object, where: object) -> None:
    if not str(version).startswith(_VERSIONS):
        raise InputError("this version of OME-NGFF cannot be read", got=version, expected="0.4 or 0.5", where=where)


def _check_axes(names: tuple[str, ...], where: object) -> None:
    places = [_AXES.index(name) if name in _AXES else -1 for name in names]
    if names[-2:] != ("y", "x") or -1 in places or places != sorted(set(places)):
        raise InputError(
            "the image's axes are in an order that cannot be read",
            got=", ".join(names),
            expected="t, c, z, y, x, of which all but y and x may be missing",
            where=where,
        )


def _scale(transformations: Any, axes: int) -> list[float]:
    """The product of all scales; translations say where the image lies on the stage, which nothing here needs."""
    scale = [1.0] * axes
    for step in transformations:
        if step.get("type") == "scale":
            scale = [a * float(b) for a, b in zip(scale, step["scale"], strict=True)]
    return scale
