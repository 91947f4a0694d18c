"""`xaipipe layers MODEL`: the layers that methods can explain, and where their cells lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from xaipipe.cli.model_flags import with_model
from xaipipe.cli.session import Session, session_of
from xaipipe.config import build_config, read_toml, with_settings
from xaipipe.errors import UsageError
from xaipipe.models.auto import candidates, last_with_space
from xaipipe.models.model import Model, as_found
from xaipipe.models.places import how_derived
from xaipipe.models.sources import load_model
from xaipipe.models.survey import SeenLayer, survey
from xaipipe.pipeline import chosen_device
from xaipipe.running.planning import required_preprocess

_COLUMNS = ("layer", "kind", "maps", "output", "stride", "offset", "sees", "")
_UNKNOWN = "?"


def add_to(app: typer.Typer) -> None:
    app.command("layers")(layers)


def layers(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(help="timm:NAME, torchvision:NAME, weights file, FILE.py:factory.")
    ] = None,
    model_output: Annotated[
        str | None, typer.Option(help="Which output is explained, of several: a key, a position, a dotted path.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the input in pixels; default: the model's.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Layers in branches too.")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file with [model], [preprocess].")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Let a model that is code run.")] = False,
) -> None:
    """List the layers that can be explained: their maps, and where the cells of these lie on the input."""
    session = session_of(context)
    tables = with_model(with_settings(read_toml(config) if config else {}, settings or []), model, model_output)
    tables.pop("explain", None)  # the layers are the model's, whatever is to be done with them
    tables["explain"] = {"method": "gradcam"}
    built = build_config(tables, session.registry, config.resolve().parent if config else None)
    if built.model is None:
        raise UsageError("no model is given", expected="xaipipe layers MODEL, or a [model] table")
    loaded = load_model(built.model, trust=trust, base=built.base)
    loaded.module.to(chosen_device(built.run.device))
    side = size or required_preprocess(built, loaded).size
    pixels = torch.zeros(1, 3, side, side, device=loaded.device, dtype=loaded.dtype)
    _tell(session, loaded, pixels, every)


def _tell(session: Session, model: Model, pixels: torch.Tensor, every: bool) -> None:
    with as_found(model.module):
        seen = survey(model, pixels)
        auto = last_with_space(model, seen, pixels).layer.name
    listed = [one for one in candidates(seen) if every or one.alone or one.layer.name == auto] or candidates(seen)
    facts = [_facts(one, auto) for one in listed]
    if session.json:
        session.emit({"input": list(pixels.shape[1:]), "layers": facts})
        return
    for line in _laid_out(_table(listed, facts), session.out.width if session.out.is_terminal else None):
        session.out.print(line, soft_wrap=True)
    legend = f"for an input of {pixels.shape[2]} × {pixels.shape[3]} pixels; {_legend(facts)}"
    session.out.print(legend, style="dim", soft_wrap=not session.out.is_terminal)


def _table(listed: Sequence[SeenLayer], facts: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows of cells, a head first; outputs only where some are not the maps themselves."""
    rows = [list(_COLUMNS), *(_row(one, fact) for one, fact in zip(listed, facts, strict=True))]
    output, maps = _COLUMNS.index("output"), _COLUMNS.index("maps")
    if all(row[output] == row[maps] for row in rows[1:]):
        for row in rows:
            del row[output]
    return rows


def _laid_out(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Columns two blanks apart. Where that is too wide, names have lines of their own: people copy them."""
    lines = _aligned(rows)
    if width is None or max(map(len, lines)) <= width:
        return lines
    rest = _aligned([row[1:] for row in rows])
    return [line for row, others in zip(rows, rest, strict=True) for line in (row[0], f"    {others}")]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows]


def _facts(seen: SeenLayer, auto: str) -> dict[str, Any]:
    """For machines; what is not known is null."""
    field, size = seen.field, seen.size
    assert size is not None
    return {
        "layer": seen.layer.name,
        "kind": type(seen.layer.module).__name__,
        "output": list(seen.output),
        "layout": seen.layer.layout.words,
        "channels": seen.channels,
        "cells": list(size),
        "stride": field and list(field.grid.scale),
        "offset": field and list(field.grid.offset),
        "receptive_field": field and list(field.receptive),
        "sees_more": field and field.sees_more,
        "grid": field and how_derived(field),
        "alone": seen.alone,
        "auto": seen.layer.name == auto,
    }


def _row(seen: SeenLayer, fact: dict[str, Any]) -> list[str]:
    output = " × ".join(str(n) for n in seen.output[1:])
    height, width = fact["cells"]
    field = seen.field
    if field is None:
        where = [_UNKNOWN] * 3
    else:
        where = [_pair(field.grid.scale), _pair(field.grid.offset), _pair(field.receptive) + "+" * field.sees_more]
    return [
        *(fact["layer"], fact["kind"], f"{seen.channels} × {height} × {width}", output),
        *where,
        "auto" if fact["auto"] else "",
    ]


def _pair(values: tuple[float, float]) -> str:
    """Once where y and x are the same."""
    shown = [f"{value:.6g}" for value in values]
    return shown[0] if shown[0] == shown[1] else ", ".join(shown)


def _legend(facts: Sequence[dict[str, Any]]) -> str:
    said = ["stride, offset and what a cell sees in pixels"]
    if any(fact["sees_more"] for fact in facts):
        said.append("+: and what attention, gates or norms show it of the rest")
    if any(fact["stride"] is None for fact in facts):
        said.append(f"{_UNKNOWN}: an operator has no rule, and gradients tell when the layer is explained")
    return "; ".join(said)
