"""The tables of a result, for spreadsheets and scripts: its objects, and what could not be read."""

from __future__ import annotations

import csv
import io

from xaipipe import Instance, Unreadable
from xaipipe.running.layout import Layout

_COLUMNS = ("label", "y", "x", "height", "width", "area", "centre_y", "centre_x", "peak", "mean")
_MICROMETRES = ("centre_y_um", "centre_x_um", "area_um2")


def instance_table(instances: tuple[Instance, ...], layout: Layout) -> bytes:
    """One row an object. Places and sizes in pixels of the explained level; in micrometres too where known."""
    mpp = layout.mpp * layout.downsample if layout.mpp else None
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS + (_MICROMETRES if mpp else ()))
    for one in instances:
        row = [one.label, one.y, one.x, one.h, one.w, one.area]
        row += [f"{one.centre_y:.2f}", f"{one.centre_x:.2f}", f"{one.peak:.6g}", f"{one.mean:.6g}"]
        if mpp:
            centres = ((c + 0.5) * mpp - 0.5 * (layout.mpp or 0) for c in (one.centre_y, one.centre_x))
            row += [f"{c:.2f}" for c in centres] + [f"{one.area * mpp**2:.2f}"]
        writer.writerow(row)
    return text.getvalue().encode()


def unreadable_table(parts: tuple[Unreadable, ...]) -> bytes:
    """One row a tile or a piece of a copied image, in pixels of its level."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("array", "level", "y", "x", "height", "width", "reason"))
    writer.writerows((part.array, part.level, part.y, part.x, part.h, part.w, part.reason) for part in parts)
    return text.getvalue().encode()
