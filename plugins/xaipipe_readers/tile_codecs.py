"""Decoding one tile of a TIFF's page. What the tile's own header promises is checked before it is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np

from xaipipe_readers.jpeg import frame_of
from xaipipe_readers.jpeg2000 import siz_of
from xaipipe_readers.tiff_checks import APERIO_RGB, APERIO_YCBCR, JPEG
from xaipipe_readers.ycbcr import rgb_of

Decode = Callable[[bytes, int], np.ndarray]
"""From the tile's bytes and its number to uint8[h, w, channels]. Any exception means that it cannot be decoded."""
_MOST_CHANNELS = 4
_MOST_TILES = 1 << 10
"""Within the codestream of one tile."""


def decoder_of(page: Any) -> Decode:
    """How a page's tiles are decoded."""
    if page.compression in JPEG:
        return _jpeg(page)
    if page.compression in (APERIO_RGB, APERIO_YCBCR):
        return _jpeg_2000(page)
    return lambda data, index: np.asarray(page.decode(data, index)[0])[0]


def is_subsampled(page: Any, file: int) -> bool:
    """Whether a JPEG 2000 page holds its colours at half the resolution; the first tile speaks for all."""
    if page.compression not in (APERIO_RGB, APERIO_YCBCR):
        return False
    offset, count = next(((o, c) for o, c in zip(page.dataoffsets, page.databytecounts, strict=True) if c), (0, 0))
    return bool(count) and siz_of(os.pread(file, min(count, 1 << 12), offset)).subsampled


def _jpeg(page: Any) -> Decode:
    tables, header = page.jpegtables, page.jpegheader

    def decode(data: bytes, index: int) -> np.ndarray:
        if data.rfind(b"\xff\xd9") < 0:
            raise ValueError("no end-of-image marker: it is cut short")
        frame, _ = frame_of(data)
        _require_fit(page, frame.height, frame.width, frame.channels)
        return np.asarray(page.decode(data, index, jpegtables=tables, jpegheader=header)[0])[0]

    return decode


def _jpeg_2000(page: Any) -> Decode:
    turned = page.compression == APERIO_YCBCR

    def decode(data: bytes, index: int) -> np.ndarray:
        siz = siz_of(data)
        _require_fit(page, siz.height, siz.width, siz.channels)
        if siz.tiles > _MOST_TILES:
            raise ValueError(f"a codestream of {siz.tiles} tiles")
        if siz.subsampled:
            raise ValueError("colours at half the resolution")
        if not turned or siz.channels != 3:
            return np.atleast_3d(imagecodecs.jpeg2k_decode(data))
        return rgb_of(*imagecodecs.jpeg2k_decode(data, planar=True))

    return decode


def _require_fit(page: Any, height: int, width: int, channels: int) -> None:
    """A tile's own header can promise more than memory holds."""
    if height > page.tilelength or width > page.tilewidth or channels > _MOST_CHANNELS:
        tile = f"{page.tilelength} × {page.tilewidth}"
        raise ValueError(f"{height} × {width} pixels of {channels} channels in a tile of {tile}")
