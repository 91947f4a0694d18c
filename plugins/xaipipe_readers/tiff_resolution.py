"""Micrometres per pixel, as a TIFF says it."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import tifffile

from xaipipe import InputError

_MICROMETRES = {2: 25_400.0, 3: 10_000.0}
"""Per TIFF resolution unit: inch, centimetre."""
_COARSEST = 50.0
"""Micrometres per pixel beyond which a resolution tag says nothing about a specimen."""
_UNITS = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}


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
