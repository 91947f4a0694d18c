"""A finished result, opened for reading: its images and labels with their levels, and where those lie."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr

from xaipipe import InputError, UsageError

SEGMENTATION = "segmentation"
"""The labels that a run's segmenters made."""
_COMPLETE = "COMPLETE"


@dataclass(frozen=True)
class Level:
    """One level of an image or of labels."""

    array: zarr.Array
    span: float
    """Level-0 pixels along a cell."""
    corner: tuple[float, float]
    """(y, x) of its first cell's corner in level-0 pixels, whose first has its corner at 0."""

    @property
    def height(self) -> int:
        return int(self.array.shape[-2])

    @property
    def width(self) -> int:
        return int(self.array.shape[-1])

    def read(self, y: int, x: int, h: int, w: int) -> np.ndarray:
        """A box [C, h, w], cut off at the end; a damaged shard is an error in words."""
        with damage_in_words(self.array.path):
            box = np.asarray(self.array[..., y : y + h, x : x + w])
        return box if box.ndim == 3 else box[None]


@dataclass(frozen=True)
class Image:
    """An image or label image with its levels, large to small."""

    name: str
    levels: tuple[Level, ...]
    attributes: Mapping[str, Any]
    """Of its group: `ome`, and `xaipipe` where it has any."""

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(channel["label"] for channel in self.attributes["ome"]["omero"]["channels"])

    @property
    def window(self) -> tuple[float, float]:
        """What a viewer should show from dark to bright."""
        window = self.attributes["ome"]["omero"]["channels"][0]["window"]
        return float(window["start"]), float(window["end"])


class Object(NamedTuple):
    """What the table says of an object."""

    end: int
    """The row of the labels below its last."""
    mean: float
    peak: float


class Result:
    """What a run left behind. It has to be finished, and every shard of it has to be there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = _opened(path)
        self.completion = _completion(path)
        self.facts: Mapping[str, Any] = self.root.attrs["xaipipe"]

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel."""
        mpp = self.facts["slide"]["mpp"]
        return None if mpp is None else float(mpp)

    @property
    def target(self) -> str:
        """What was explained."""
        return str(self.facts["settings"]["explain"].get("target", "predicted"))

    @cached_property
    def images(self) -> dict[str, Image]:
        """In the order of the collection's series."""
        return {name: self._image(name, name) for name in self.root["OME"].attrs["ome"]["series"]}

    @cached_property
    def labels(self) -> dict[str, Image]:
        """Of the run's segmenters, and of what it says of tiles and tissue."""
        if "labels" not in self.root["heatmap"]:
            return {}
        group = "heatmap/labels"
        return {name: self._image(name, f"{group}/{name}") for name in self.root[group].attrs["ome"]["labels"]}

    @property
    def segmentations(self) -> dict[str, Image]:
        """Labels without the names of classes, which are what segmenters found; none where the run had none."""
        described = {name: self.root[f"heatmap/labels/{name}"].attrs["ome"]["image-label"] for name in self.labels}
        return {name: image for name, image in self.labels.items() if "properties" not in described[name]}

    def objects(self, labels: Image) -> dict[int, Object]:
        """The rows of the table of objects by label; the table is that of the run's own segmentation."""
        table = self.path / "instances.csv"
        if labels.name != SEGMENTATION or not table.is_file():
            return {}
        with table.open(newline="", encoding="utf-8") as file:
            return {int(row["label"]): _object(row) for row in csv.DictReader(file)}

    def _image(self, name: str, path: str) -> Image:
        group = self.root[path]
        attributes = group.attrs.asdict()
        datasets = attributes["ome"]["multiscales"][0]["datasets"]
        levels = tuple(
            self._level(group[dataset["path"]], dataset["coordinateTransformations"]) for dataset in datasets
        )
        return Image(name, levels, attributes)

    def _level(self, array: zarr.Array, transformations: list[Mapping[str, Any]]) -> Level:
        unit = self.mpp or 1.0
        scale, translation = transformations[0]["scale"], transformations[1]["translation"]
        span = _tidy(scale[-1] / unit)
        y, x = (_tidy(first / unit + 0.5 - span / 2) for first in translation[-2:])
        return Level(array, span, (y, x))


@contextmanager
def damage_in_words(where: str) -> Iterator[None]:
    """What zarr and its codecs raise over a damaged shard."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise InputError(
            "a part of the result cannot be read",
            got=str(error),
            where=where,
            hint="put it back: xaipipe verify, with --repair",
        ) from error


def _object(row: Mapping[str, str]) -> Object:
    return Object(int(row["y"]) + int(row["height"]), float(row["mean"]), float(row["peak"]))


def _opened(path: Path) -> zarr.Group:
    if not path.exists():
        raise UsageError("there is no such result", where=path)
    try:
        root = zarr.open_group(path, mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise _foreign(path) from error
    if "xaipipe" not in root.attrs or root.metadata.zarr_format != 3:
        raise _foreign(path)
    return root


def _foreign(path: Path) -> InputError:
    return InputError("this is not a result of xaipipe", where=path, expected="what `xaipipe run … -o` wrote")


def _completion(path: Path) -> Mapping[str, Any]:
    """The mark that the run was finished; a shard that is gone would read as empty, so each is looked for."""
    try:
        completion = json.loads((path / _COMPLETE).read_text())
        missing = [shard for shard in completion["shards"] if not (path / shard).is_file()]
    except FileNotFoundError:
        hint = f"xaipipe resume {path}"
        raise InputError("this result is not finished", got=f"no {_COMPLETE}", where=path, hint=hint) from None
    except (ValueError, KeyError, TypeError):
        raise _damaged(path, f"{_COMPLETE} is not what was written") from None
    if missing:
        raise _damaged(path, f"{len(missing)} shards are missing, among them {missing[0]}")
    return completion


def _damaged(path: Path, got: str) -> InputError:
    return InputError("this result is damaged", got=got, where=path, hint=f"xaipipe verify {path} --repair")


def _tidy(value: float) -> float:
    """Without what dividing by micrometres and multiplying again left behind the ninth digit."""
    return round(value, 9)
