"""A small run with everything in it: a copied image, two maps, labels and a table."""

from __future__ import annotations

from pathlib import Path

from tests.running.slides import RedFinder, dotted, tables, write_tiled
from xaipipe import Pipeline

CENTRES = [(40, 60), (64, 128), (130, 126), (191, 30)]
CHAIN = {
    "postprocess": [{"method": "smooth"}],
    "segment": [{"method": "threshold"}, {"method": "components"}],
    "store": {"image": "copy", "smallest_level": 64},
}


def write_slide(folder: Path) -> Path:
    return write_tiled(folder / "dots.tif", dotted(240, 200, CENTRES))


def pipeline(**changes: object) -> Pipeline:
    return Pipeline(tables(**{**CHAIN, **changes}), model=RedFinder())


def content(output: Path) -> dict[str, bytes]:
    """Every file of a result with its bytes."""
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()}
