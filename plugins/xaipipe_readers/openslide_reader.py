"""Slides that only openslide reads (MRXS, NDPI, SCN, DICOM, …), where it is installed: the extra `openslide`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from xaipipe import InputError, Level, Slide
from xaipipe_readers.files import file_fingerprint


class OpenSlideSlide(Slide):
    """openslide's handle, which is safe to read from several threads."""

    def __init__(self, path: Path, handle: Any) -> None:
        self.path, self._handle = path, handle
        sizes = zip(handle.level_dimensions, handle.level_downsamples, strict=True)
        self.levels = tuple(Level(h, w, float(downsample)) for (w, h), downsample in sizes)
        stated = handle.properties.get("openslide.mpp-x")
        self.mpp = float(stated) if stated else None

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        span = self.levels[level].downsample
        place = (round(x * span), round(y * span))  # openslide wants level-0 pixels, whatever the level
        try:
            rgba = np.asarray(self._handle.read_region(place, level, (w, h)))
        except Exception as error:
            where = f"{self.path} level {level} y={y} x={x} h={h} w={w}"
            raise InputError("the slide cannot be read by openslide", got=str(error), where=where) from None
        alpha = rgba[..., 3:].astype(np.uint16)  # what was not scanned is transparent, and laid on white
        on_white = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
        return np.ascontiguousarray(on_white.astype(np.uint8))

    @property
    def profile(self) -> bytes | None:
        profile = self._handle.color_profile
        return None if profile is None else bytes(profile.tobytes())

    @property
    def fingerprint(self) -> str:
        return file_fingerprint(self.path)

    def close(self) -> None:
        self._handle.close()


def open_with_openslide(path: Path) -> OpenSlideSlide | None:
    """The slide, or None where openslide is not installed or does not know the file."""
    if importlib.util.find_spec("openslide") is None:
        return None
    import openslide

    if openslide.OpenSlide.detect_format(path) is None:
        return None
    try:
        return OpenSlideSlide(path, openslide.OpenSlide(path))
    except (openslide.OpenSlideError, ValueError) as error:
        hint = "the file is damaged or cut short"
        raise InputError("the slide cannot be opened by openslide", got=str(error), where=path, hint=hint) from None
