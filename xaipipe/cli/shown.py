"""What `xaipipe explain` shows of the maps that it made: pictures, files of raw values, facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xaipipe.cli.outputs import npz_bytes, png_bytes, save
from xaipipe.display import styled
from xaipipe.panels import Panel, drawn, side_by_side
from xaipipe.types import Explanation

_SAID_AS = {"score": "score is"}
"""Of the diagnostics: what has a name here that means something else."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One map."""

    method: str
    explanation: Explanation
    label: str
    """Of its target."""
    caption: str

    @property
    def score(self) -> float:
        return float(self.explanation.scores[0])

    @property
    def arrays(self) -> dict[str, Any]:
        grid = self.explanation.grid
        return {"values": self.explanation.values.float().cpu().numpy(), "scale": grid.scale, "offset": grid.offset}

    @property
    def facts(self) -> dict[str, Any]:
        explanation = self.explanation
        said = {_SAID_AS.get(name, name): value for name, value in explanation.diagnostics.items()}
        return {
            "target": explanation.targets[0],
            "label": self.label,
            "score": self.score,
            "cells": list(explanation.values.shape[1:]),
            "scale": explanation.grid.scale,
            "offset": explanation.grid.offset,
            **said,
        }

    def in_colours_to(self, percentile: float) -> Shown:
        return replace(self, explanation=styled(self.explanation, percentile=percentile))

    def panel(self, rgb: np.ndarray[Any, Any]) -> Panel:
        said = self.explanation.diagnostics.get("score", "score")
        return Panel(self.explanation, rgb, (self.caption, f"{self.method}, {said} {self.score:.4g}"))


Rows = Sequence[Sequence[Shown]]
"""A row a method, in it a map a target."""


def write(output: Path, rows: Rows, rgb: np.ndarray[Any, Any]) -> None:
    """The maps over the picture that was explained, or their raw values."""
    every = [shown for row in rows for shown in row]
    if output.suffix == ".png":
        panels = [[shown.panel(rgb) for shown in row] for row in rows]
        save(output, png_bytes(side_by_side(panels) if len(every) > 1 else drawn(every[0].explanation, rgb)))
    else:
        save(output, npz_bytes(**(_numbered(every) if len(every) > 1 else every[0].arrays)))


def _numbered(every: Sequence[Shown]) -> dict[str, Any]:
    """`0.values`, `0.method`, … of the first map, and so on."""
    arrays: dict[str, Any] = {}
    for number, shown in enumerate(every):
        about = {"method": shown.method, "caption": shown.caption, "score": shown.score}
        arrays |= {f"{number}.{name}": value for name, value in {**shown.arrays, **about}.items()}
    return arrays


def facts_of(rows: Rows) -> Mapping[str, Any]:
    """Of one map, or of each of several in a list."""
    every = [shown for row in rows for shown in row]
    if len(every) == 1:
        return every[0].facts
    return {"maps": [{"method": shown.method, "caption": shown.caption, **shown.facts} for shown in every]}
