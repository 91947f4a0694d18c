"""What of a TIFF's page can be told from its header alone, before anything is decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import tifffile

from xaipipe import InputError

JPEG = (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
APERIO_YCBCR = tifffile.COMPRESSION.APERIO_JP2000_YCBC
APERIO_RGB = tifffile.COMPRESSION.APERIO_JP2000_RGB
_COLOURS = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
_MOST_TILE_PIXELS = 1 << 26


def check_colours(page: Any, where: object) -> None:
    """Ink, palette indices and inverted grey would pass for RGB or grey, and be silently wrong."""
    inside = (*JPEG, APERIO_YCBCR, APERIO_RGB)
    plain_ycbcr = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression not in inside
    if page.photometric not in _COLOURS or plain_ycbcr:
        raise InputError(
            "the TIFF's colours are of a kind that cannot be read",
            got=getattr(page.photometric, "name", page.photometric),
            expected="grey, RGB, or YCbCr inside JPEG",
            where=where,
            hint="convert it to RGB",
        )


def check_tiled_page(page: Any, size: int, where: object) -> None:
    """What is not RGB bytes, cut short, or absurd is refused; `size` is the file's."""
    if page.dtype != np.uint8 or page.samplesperpixel not in (1, 3, 4):
        raise InputError(
            "the slide's pixels are of a kind that cannot be read",
            got=f"{page.dtype}, {page.samplesperpixel} samples a pixel",
            expected="8 bits, grey or RGB",
            where=where,
        )
    check_colours(page, where)
    if page.samplesperpixel > 1 and page.planarconfig != 1:
        raise InputError("the slide stores its channels apart", expected="interleaved RGB", where=where)
    if not 0 < page.tilelength * page.tilewidth <= _MOST_TILE_PIXELS:
        raise InputError(
            "the slide's tiles have a size that cannot be read",
            got=f"{page.tilelength} × {page.tilewidth}",
            expected=f"at most {_MOST_TILE_PIXELS} pixels",
            where=where,
        )
    if not page.imagelength or not page.imagewidth:
        raise InputError("the slide has no pixels", got=f"{page.imagelength} × {page.imagewidth}", where=where)
    _check_table(page, size, where)


def _check_table(page: Any, size: int, where: object) -> None:
    expected = -(-page.imagelength // page.tilelength) * -(-page.imagewidth // page.tilewidth)
    if len(page.dataoffsets) < expected or len(page.databytecounts) < expected:
        raise InputError("the slide lists too few tiles", got=len(page.dataoffsets), expected=expected, where=where)
    end = max((o + c for o, c in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
    if end > size:
        raise InputError(
            "the slide is cut short",
            got=f"{size} bytes",
            expected=f"at least {end}",
            where=where,
            hint="copy the file again",
        )
