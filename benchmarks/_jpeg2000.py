"""Pictures as slides in Aperio's JPEG 2000 layouts, which openslide opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

RGB, YCBCR = 33005, 33003
"""TIFF compressions: colours as they are, and luma with two differences of colour."""


def write_jpeg_2000(path: Path, rgb: np.ndarray, compression: int, tile: int = 256, quality: float = 40) -> Path:
    """One level; `quality` is the peak signal-to-noise ratio in dB."""
    height, width = rgb.shape[:2]
    text = f"Aperio Image Library v12.0.0\r\n{width}x{height} [0,0 {width}x{height}] ({tile}x{tile})"
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            _tiles(rgb, compression, tile, quality),
            shape=rgb.shape,
            dtype=np.uint8,
            tile=(tile, tile),
            photometric="rgb",
            compression=compression,
            description=f"{text} J2K/KDU Q={quality}|AppMag = 20|MPP = 0.5",
            metadata=None,
            software=False,
        )
    return path


def _tiles(rgb: np.ndarray, compression: int, tile: int, quality: float) -> Iterator[bytes]:
    for y in range(0, rgb.shape[0], tile):
        for x in range(0, rgb.shape[1], tile):
            part = rgb[y : y + tile, x : x + tile]
            whole = np.pad(part, ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)), mode="edge")
            own = compression == RGB
            yield imagecodecs.jpeg2k_encode(
                np.ascontiguousarray(whole if own else _ycbcr(whole)),
                level=quality,
                codecformat="j2k",
                reversible=False,
                mct=own,  # its own transformation of colours; YCbCr is one already
            )


def _ycbcr(rgb: np.ndarray) -> np.ndarray:
    r, g, b = np.moveaxis(rgb.astype(np.float64), 2, 0)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    planes = (luma, 128 + (b - luma) / 1.772, 128 + (r - luma) / 1.402)
    return np.clip(np.rint(np.stack(planes, axis=2)), 0, 255).astype(np.uint8)
