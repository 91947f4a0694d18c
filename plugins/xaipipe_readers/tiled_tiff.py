"""Tiled TIFF slides (Aperio SVS, generic and OME-TIFF): tifffile finds the tiles, we read and decode them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from xaipipe import InputError, Level
from xaipipe_readers.files import file_fingerprint, first_bytes
from xaipipe_readers.icc import tiff_profile
from xaipipe_readers.levels import downsample_of
from xaipipe_readers.native_tiles import NativeTiles
from xaipipe_readers.photograph import TIFF_MAGIC
from xaipipe_readers.tiff_checks import JPEG, check_tiled_page

_MICROMETRES = {2: 25_400.0, 3: 10_000.0}
"""Per TIFF resolution unit: inch, centimetre."""
_COARSEST = 50.0
"""Micrometres per pixel beyond which a resolution tag says nothing about a specimen."""
_UNITS = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}


class TiledTiff(NativeTiles):
    """A pyramid of tiled pages. Reads are safe from any thread: each is a `pread` and a decode of its own."""

    def __init__(self, path: Path, tif: tifffile.TiffFile, pages: list[Any]) -> None:
        self.path = path
        self._tif, self._pages = tif, pages
        base = pages[0]
        sizes = [(page.imagelength, page.imagewidth) for page in pages]
        self.levels = tuple(Level(h, w, downsample_of(sizes[0], (h, w))) for h, w in sizes)
        self.mpp = micrometres_per_pixel(tif, base)
        self._file = os.open(path, os.O_RDONLY)
        super().__init__(tuple((page.tilelength, page.tilewidth) for page in pages))

    @property
    def profile(self) -> bytes | None:
        return tiff_profile(self._pages[0])

    @property
    def fingerprint(self) -> str:
        return file_fingerprint(self.path)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._tif.close()

    def decode(self, level: int, row: int, column: int) -> np.ndarray:
        page = self._pages[level]
        index = row * -(-page.imagewidth // page.tilewidth) + column
        count = page.databytecounts[index]
        shape = (page.tilelength, page.tilewidth, 3)
        if count == 0:  # a sparse tile: by convention background
            return np.full(shape, 255, np.uint8)
        where = f"{self.path} level {level} tile ({row}, {column})"
        data = os.pread(self._file, count, page.dataoffsets[index])
        if len(data) < count:
            raise InputError("the slide is cut short", got=f"{len(data)} of {count} bytes", where=where)
        if page.compression in JPEG and data.rfind(b"\xff\xd9") < 0:
            raise InputError("a tile of the slide is cut short", got="no end-of-image marker", where=where)
        try:
            decoded = page.decode(data, index, jpegtables=page.jpegtables)[0]
        except Exception as error:
            raise InputError(
                "a tile of the slide cannot be decoded", got=f"{type(error).__name__}: {error}", where=where
            ) from None
        if decoded is None:
            raise InputError("a tile of the slide holds no pixels", where=where)
        pixels = np.asarray(decoded).reshape(decoded.shape[-3:])
        if pixels.shape == shape:
            return np.require(pixels, requirements="CW")  # uncompressed tiles are a view of the file's bytes
        tile = np.full(shape, 255, np.uint8)
        tile[: pixels.shape[0], : pixels.shape[1]] = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels
        return tile


def open_tiled_tiff(path: Path) -> TiledTiff | None:
    """The slide, or None where the file is not a tiled TIFF."""
    if not first_bytes(path, 4).startswith(TIFF_MAGIC):
        return None
    try:
        tif = tifffile.TiffFile(path)
    except Exception as error:
        raise _unreadable(path, error) from None
    try:
        slide = _slide(path, tif)
    except InputError:
        tif.close()
        raise
    except Exception as error:
        tif.close()
        raise _unreadable(path, error) from None
    if slide is None:
        tif.close()
    return slide


def _slide(path: Path, tif: tifffile.TiffFile) -> TiledTiff | None:
    pages = _levels(tif)
    if not pages or not pages[0].is_tiled:
        return None
    size = path.stat().st_size
    for page in pages:
        check_tiled_page(page, size, f"{path}, page {page.index}")
    return TiledTiff(path, tif, pages)


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        "the TIFF cannot be read",
        got=f"{type(error).__name__}: {error}",
        where=path,
        hint="the file is damaged or cut short",
    )


def micrometres_per_pixel(tif: tifffile.TiffFile, page: Any) -> float | None:
    """From Aperio's description, OME-XML, or the resolution tags; None where the file does not say."""
    aperio = re.search(r"\|\s*MPP\s*=\s*([0-9]+(?:\.[0-9]+)?)", page.description or "")
    if aperio:
        return float(aperio.group(1)) or None
    if tif.ome_metadata:
        return _ome_mpp(tif.ome_metadata)
    unit = _MICROMETRES.get(int(page.tags.valueof(296, default=1)))
    resolutions = page.tags.valueof(282), page.tags.valueof(283)
    if unit is None or not all(resolution and resolution[0] for resolution in resolutions):
        return None
    x, y = (unit * below / above for above, below in resolutions)
    if x > _COARSEST:  # 72 dots an inch and the like: a size for printers, not of the specimen
        return None
    if abs(x - y) > 0.01 * x:
        raise InputError("the slide's pixels are not square", got=f"{x:.4g} × {y:.4g} µm")
    return float(x)


def _ome_mpp(xml: str) -> float | None:
    for element in ElementTree.fromstring(xml).iter():
        if element.tag.endswith("}Pixels") and "PhysicalSizeX" in element.attrib:
            unit = _UNITS.get(element.attrib.get("PhysicalSizeXUnit", "µm"))
            return float(element.attrib["PhysicalSizeX"]) * unit if unit else None
    return None


def _levels(tif: tifffile.TiffFile) -> list[Any]:
    """The tiled pages of the first series, largest first; thumbnails and labels are strips and fall away."""
    if not tif.series:
        return []
    pages = [level.keyframe for level in tif.series[0].levels]
    return [page for page in pages if page.is_tiled] or pages[:1]
