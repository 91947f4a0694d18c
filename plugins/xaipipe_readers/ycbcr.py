"""YCbCr as JFIF defines it, to RGB."""

from __future__ import annotations

import numpy as np

_BITS = 16


def _fixed(factor: float) -> int:
    """In units of 2^-16: decoders of JPEG count so, and agree with each other to the bit."""
    return round(factor * (1 << _BITS))


def rgb_of(luma: np.ndarray, cb: np.ndarray, cr: np.ndarray) -> np.ndarray:
    """Three planes uint8[h, w] as uint8[h, w, 3]."""
    blue, red = cb.astype(np.int32) - 128, cr.astype(np.int32) - 128
    green = blue * -_fixed(0.34414) - red * _fixed(0.71414)
    red *= _fixed(1.402)
    blue *= _fixed(1.772)
    rgb = np.empty((*luma.shape, 3), np.uint8)
    for channel, plane in enumerate((red, green, blue)):
        plane += 1 << (_BITS - 1)
        plane >>= _BITS
        plane += luma
        rgb[:, :, channel] = np.clip(plane, 0, 255, out=plane)
    return rgb
