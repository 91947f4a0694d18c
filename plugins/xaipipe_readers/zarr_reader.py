"""OME-Zarr 0.4 and 0.5 as slides: a folder, or a URL that fsspec reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import FsspecStore

from xaipipe import InputError
from xaipipe.errors import brief
from xaipipe_readers.native_tiles import NativeTiles
from xaipipe_readers.ngff_image import NgffImage
from xaipipe_readers.zarr_checks import channels_of, check_array, windows

_MARKS = ("zarr.json", ".zgroup", ".zattrs")
_LEAST = 256
"""Pixels along what is read at once: small chunks are read several together."""
_SAMPLES, _SAMPLE = 4, 64
"""For the fingerprint: boxes along each axis, and their side."""


class ZarrSlide(NativeTiles):
    """A multiscale image."""

    def __init__(self, place: Path | str, group: zarr.Group) -> None:
        self._place = place
        if isinstance(place, Path):
            self.path = place
        attributes = _ome(group)
        self._stated = json.dumps(attributes, sort_keys=True)
        self._image = image = NgffImage.of(attributes, place)
        arrays = [group[path] for path in image.paths]
        for path, array in zip(image.paths, arrays, strict=True):
            check_array(array, image, f"{place}, {path}")
        image.check_colours(channels_of(arrays[0], image), place)
        self._windows = windows(image, channels_of(arrays[0], image))
        self._arrays = arrays
        self.levels = image.levels([(array.shape[-2], array.shape[-1]) for array in arrays])
        self.mpp = image.mpp(place)
        super().__init__(tuple((_side(array.chunks[-2]), _side(array.chunks[-1])) for array in arrays))

    @property
    def name(self) -> str:
        return str(self._place).rstrip("/").rpartition("/")[2]

    @property
    def location(self) -> str:
        return str(self._place.absolute()) if isinstance(self._place, Path) else self._place

    @cached_property
    def fingerprint(self) -> str:
        """Of the metadata and of boxes all over the finest and the coarsest level: cheap, wherever the slide lies."""
        digest = hashlib.sha256(self._stated.encode())
        for level in {0, len(self.levels) - 1}:
            h, w = self.levels[level].height, self.levels[level].width
            digest.update(f"{h} × {w}".encode())
            for i in range(_SAMPLES):
                for j in range(_SAMPLES):
                    y, x = i * max(h - _SAMPLE, 0) // (_SAMPLES - 1), j * max(w - _SAMPLE, 0) // (_SAMPLES - 1)
                    digest.update(self._box(level, y, x, min(_SAMPLE, h), min(_SAMPLE, w)).tobytes())
        return digest.hexdigest()

    def decode(self, level: int, row: int, column: int) -> np.ndarray:
        height, width = self._native[level]
        return self._box(level, row * height, column * width, height, width)

    def _box(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        """RGB, cut to the level."""
        inner = tuple(slice(None) if axis == "c" else 0 for axis in self._image.axes[:-2])
        try:
            values = np.asarray(self._arrays[level][(*inner, slice(y, y + h), slice(x, x + w))])
        except Exception as error:
            where = f"{self} level {level} y={y} x={x} h={h} w={w}"
            raise InputError("a chunk of the slide cannot be read", got=brief(error), where=where) from None
        pixels = np.moveaxis(values, 0, 2) if values.ndim == 3 else values[:, :, None]
        if pixels.dtype == np.uint16:
            pixels = _shown(pixels, self._windows)
        return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def open_zarr(path: Path) -> ZarrSlide | None:
    """The slide, or None where the folder is no Zarr."""
    if not path.is_dir() or not any((path / mark).is_file() for mark in _MARKS):
        return None
    return _open(path, lambda: zarr.open_group(path, mode="r"), "its metadata is damaged, or not what OME-NGFF says")


def open_zarr_url(url: str) -> ZarrSlide | None:
    """The slide at a URL that fsspec reads, with the credentials that it finds itself; None where no Zarr is there."""
    try:
        store = FsspecStore.from_url(url, read_only=True)
    except ImportError as error:
        hint = "pip install 'xaipipe[remote]'"
        raise InputError("a package is missing for such URLs", got=str(error), where=url, hint=hint) from None
    except ValueError:  # a protocol that fsspec does not know
        return None
    hint = "can it be reached, and may you read it? Is it an OME-Zarr?"
    return _open(url, lambda: zarr.open_group(store, mode="r"), hint)


def _open(place: Path | str, find: Callable[[], zarr.Group], hint: str) -> ZarrSlide | None:
    try:
        try:
            root = find()
        except FileNotFoundError:
            return None
        return ZarrSlide(place, _image_group(root, place))
    except InputError:
        raise
    except Exception as error:
        raise InputError("the Zarr cannot be read", got=brief(error), where=place, hint=hint) from None


def _image_group(root: zarr.Group, place: Path | str) -> zarr.Group:
    """The group with the image: this one, or the first of a collection."""
    attributes = _ome(root)
    if "multiscales" in attributes:
        return root
    if "bioformats2raw.layout" in attributes:
        listed = _ome(root["OME"]).get("series") if "OME" in root else None
        image: Any = root[listed[0] if listed else "0"]
        return image
    raise InputError(
        "the Zarr holds no image of OME-NGFF",
        got="a plate" if "plate" in attributes else ", ".join(sorted(attributes)) or "no metadata",
        expected="multiscales",
        where=place,
        hint="give the path of the group that is the image",
    )


def _ome(group: Any) -> Mapping[str, Any]:
    """The metadata of version 0.5 under its key, of 0.4 as it lies."""
    attributes = group.attrs.asdict()
    return attributes.get("ome", attributes)


def _side(chunk: int) -> int:
    return chunk * -(-_LEAST // chunk)


def _shown(values: np.ndarray, limits: tuple[tuple[float, float], ...]) -> np.ndarray:
    """16 bits as 8, each channel between its window's start and end."""
    start, end = np.asarray(limits).T
    return np.rint(np.clip((values - start) / (end - start), 0, 1) * 255).astype(np.uint8)
