"""Labels as GeoJSON in level-0 pixels, feature by feature, as QuPath reads it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xaipipe_export.polygons import Polygon, area, label_polygons
from xaipipe_export.result import Image, Level, Object, Result

_STRIP_PIXELS = 1 << 23
_MOST_ROWS = 1024
_COLOUR = [255, 200, 0]


def write_geojson(path: Path, result: Result, labels: Image, kind: str, name: str) -> int:
    """A FeatureCollection of all objects; how many. `kind` is QuPath's: annotation or detection."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for feature in _features(result, labels, kind, name):
            file.write((",\n" if count else "\n") + json.dumps(feature, ensure_ascii=False))
            count += 1
        file.write("\n]}\n")
    return count


def _features(result: Result, labels: Image, kind: str, name: str) -> Iterator[dict[str, Any]]:
    level = labels.levels[0]
    objects = result.objects(labels)
    ends = {label: row.end for label, row in objects.items()}
    rows = max(min(_STRIP_PIXELS // level.width, _MOST_ROWS), 1)

    def read(top: int, height: int) -> np.ndarray:
        return level.read(top, 0, height, level.width)[0]

    for label, polygons in label_polygons(read, level.height, level.width, ends, rows):
        row = objects.get(label)
        yield {
            "type": "Feature",
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{result.completion['plan']}/{labels.name}/{label}")),
            "geometry": _geometry(polygons, level),
            "properties": {
                "objectType": kind,
                "name": f"{name} {label}",
                "classification": {"name": name if row else f"{name}: {label}", "color": _COLOUR},
                "measurements": _measurements(polygons, level, result.mpp, row),
            },
        }


def _geometry(polygons: list[Polygon], level: Level) -> dict[str, Any]:
    coordinates = [[_at_level_0(ring, level) for ring in polygon] for polygon in polygons]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


def _at_level_0(ring: np.ndarray, level: Level) -> list[list[float]]:
    """Corners [n, 2] (x, y) of labels as corners of level-0 pixels; whole numbers without a point."""
    placed = ring * level.span + np.asarray((level.corner[1], level.corner[0]))
    rounded = np.rint(placed)
    points = (rounded.astype(np.int64) if np.abs(placed - rounded).max() < 1e-6 else placed.round(3)).tolist()
    return list(points)


def _measurements(polygons: list[Polygon], level: Level, mpp: float | None, row: Object | None) -> dict[str, float]:
    pixels = sum(area(ring) for polygon in polygons for ring in polygon)
    side = level.span * (mpp or 1.0)
    found = {"Area µm^2" if mpp else "Area px^2": round(pixels * side**2, 4)}
    if row is not None:
        found |= {"Mean evidence": row.mean, "Peak evidence": row.peak}
    return found
