"""Reduced levels on their way into a slide: averaging, encoding, and where they wait."""

import tempfile
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


class Spool:
    """A reduced level on its way, in an anonymous file: it can be gigabytes, so it is never held or mapped."""

    def __init__(self, height: int, width: int, folder: Path) -> None:
        self.height, self.width = height, width
        self._file: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by `close`)

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()

    def write(self, y: int, x: int, pixels: Pixels) -> None:
        """Put a piece where it belongs; what hangs over the level's edge is cut off."""
        cut = pixels[: max(self.height - y, 0), : max(self.width - x, 0)]
        for row, line in enumerate(cut):
            self._file.seek(((y + row) * self.width + x) * 3)
            self._file.write(line.tobytes())

    def band(self, y: int, h: int) -> Pixels:
        """Rows y to y + h, fewer at the bottom."""
        h = min(h, self.height - y)
        self._file.seek(y * self.width * 3)
        return np.frombuffer(self._file.read(h * self.width * 3), np.uint8).reshape(h, self.width, 3)


def encode(tile: Pixels, quality: int) -> bytes:
    """One JPEG tile with the chroma of every 2 x 2 pixels shared."""
    return bytes(
        imagecodecs.jpeg8_encode(
            tile, level=quality, colorspace="rgb", outcolorspace="ycbcr", subsampling="420", optimize=False
        )
    )


def reduce(pixels: Pixels, factor: int) -> Pixels:
    """Average squares of `factor` pixels; what does not fill a square is dropped, as Aperio does."""
    h, w = pixels.shape[0] // factor, pixels.shape[1] // factor
    whole = pixels[: h * factor, : w * factor].reshape(h, factor, w, factor, 3)
    total = whole.sum(axis=3, dtype=np.uint16).sum(axis=1, dtype=np.uint32)
    mean: Pixels = ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)
    return mean


def padded(pixels: Pixels, h: int, w: int) -> Pixels:
    """Repeat the last row and column up to a full size, so that JPEG sees no false edge."""
    missing = (0, h - pixels.shape[0]), (0, w - pixels.shape[1]), (0, 0)
    return np.pad(pixels, missing, mode="edge") if missing[0][1] or missing[1][1] else pixels
