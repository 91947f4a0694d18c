"""For QuPath: the map as OME-TIFF, the objects as GeoJSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from xaipipe import Params
from xaipipe.display import coloured
from xaipipe_export.exporter import Exporter
from xaipipe_export.geojson import write_geojson
from xaipipe_export.ome_tiff import write_ome_tiff, write_rgb_tiff
from xaipipe_export.result import SEGMENTATION, Image, Result


class QuPath(Exporter):
    """For QuPath: a folder with `heatmap.ome.tif` (the values), `heatmap-rgb.ome.tif` (its colours, which openslide
    opens too) and `objects.geojson` (polygons in level-0 pixels)."""

    name = "qupath"

    class Params(Params):
        objects: Literal["detection", "annotation"] = Field("detection", description="what QuPath makes of objects")

    def write(self, result: Result, place: Path) -> Mapping[str, Any]:
        heatmap = result.images["heatmap"]
        write_ome_tiff(place / "heatmap.ome.tif", heatmap, result.mpp)
        write_rgb_tiff(place / "heatmap-rgb.ome.tif", heatmap, result.mpp, lambda box: _colours(box, heatmap))
        counts = {}
        for name, labels in result.segmentations.items():
            main = name == SEGMENTATION
            file = "objects.geojson" if main else f"{name}.geojson"
            shown = result.target if main else name
            counts[file] = write_geojson(place / file, result, labels, self.params.objects, shown)
        objects = ", ".join(f"{count} in {file}" for file, count in counts.items())
        return {"objects": objects or "none: the run had no segmenters"}


def _colours(box: np.ndarray, heatmap: Image) -> np.ndarray:
    """Black where nothing was explained."""
    low, high = heatmap.window
    values = box.sum(axis=0)
    rgb = coloured(np.nan_to_num(values), max(-low, high), signed=low < 0)
    rgb[np.isnan(values)] = 0
    return rgb
