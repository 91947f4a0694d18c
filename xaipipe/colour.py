"""A slide in the colours of a standard screen, by the ICC profile that its scanner or camera embedded."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from xaipipe.errors import InputError
from xaipipe.types import Slide
from xaipipe.wrapped import WrappedSlide

_NO_PROFILE = "an ICC profile was asked for, but the file holds none: colours are as stored"
_APPLIED = "colours are turned into sRGB by the file's ICC profile"


class InSrgb(WrappedSlide):
    """Every pixel goes through the embedded profile as it is read."""

    def __init__(self, inner: Slide, profile: bytes) -> None:
        super().__init__(inner, _APPLIED)
        self._transform = _to_srgb(profile, inner)

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray[Any, Any]:
        pixels = np.ascontiguousarray(self.inner.read(level, y, x, h, w))
        picture = Image.frombuffer("RGB", (w, h), pixels, "raw", "RGB", 0, 1)
        return np.array(ImageCms.applyTransform(picture, self._transform))


def in_srgb(slide: Slide) -> Slide:
    """The slide seen through its profile; where there is none, it says so."""
    profile = slide.profile
    return WrappedSlide(slide, _NO_PROFILE) if profile is None else InSrgb(slide, profile)


def _to_srgb(profile: bytes, slide: Slide) -> ImageCms.ImageCmsTransform:
    """By the rendering intent that the profile itself names."""
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = embedded.profile.xcolor_space.strip()
        if space == "RGB":
            intent = ImageCms.Intent(ImageCms.getDefaultIntent(embedded))
            return ImageCms.buildTransform(embedded, ImageCms.createProfile("sRGB"), "RGB", "RGB", intent)
    except (OSError, ValueError, ImageCms.PyCMSError) as error:
        hint = "leave [load] icc out to explain the colours as they are stored"
        raise InputError("the file's ICC profile cannot be used", got=str(error), where=slide, hint=hint) from None
    raise InputError("the file's ICC profile is not one for RGB", got=space, expected="RGB", where=slide)
