"""`xaipipe explain`: one photograph, one method, one picture."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from xaipipe.api import explain_with
from xaipipe.cli.flags import PASS_ON, split_flags
from xaipipe.cli.model_flags import with_model
from xaipipe.cli.outputs import check_output, npz_bytes, png_bytes, save
from xaipipe.cli.session import Session, session_of
from xaipipe.config import Config, build_config, read_toml, with_settings
from xaipipe.display import overlay
from xaipipe.errors import UsageError
from xaipipe.models.sources import load_model
from xaipipe.pipeline import chosen_device
from xaipipe.reading.opening import open_guarded
from xaipipe.running.checks import checked
from xaipipe.running.planning import required_preprocess
from xaipipe.slides import as_asked
from xaipipe.types import Explanation, Slide

_MOST_PIXELS = 1 << 28
"""Resizing needs a dozen bytes for each."""
_SAID_AS = {"score": "score is"}
"""Of the diagnostics: what has a name here that means something else."""


def add_to(app: typer.Typer) -> None:
    app.command("explain", context_settings=PASS_ON)(explain)


def explain(
    context: typer.Context,
    image: Annotated[str, typer.Argument(help="PNG, JPEG, BMP or TIFF.")],
    model: Annotated[
        str | None, typer.Option(help="timm:NAME, torchvision:NAME, weights file, FILE.py:factory.")
    ] = None,
    model_output: Annotated[
        str | None, typer.Option(help="Which output is explained, of several: a key, a position, a dotted path.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="See `xaipipe methods`; default gradcam.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="FILE.png (overlay) or FILE.npz (raw values and grid).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with [model], [preprocess], [explain].")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Let a model that is code run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Explain one photograph. Flags of the method follow, such as --layer and --target."""
    session = session_of(context)
    tables = with_model(_tables(config, settings, method), model, model_output)
    name = _method_name(tables)
    kind = session.registry.method("explain", name)
    own = [option for param in context.command.params for option in param.opts if option.startswith("--")]
    # where a flag of the method comes first, its name lands in `image`
    flags, images = split_flags([image, *context.args], kind.Params, name, own)
    if len(images) != 1:
        raise UsageError("explain takes one image", got=" ".join(images) or "none")
    tables["explain"].update(flags)
    built = build_config(tables, session.registry, config.resolve().parent if config else None)
    output = output or Path(f"{Path(images[0]).stem}-{name}.png")
    check_output(output, overwrite)
    explanation, rgb, label, notes = _explain(session, built, images[0], trust)
    _write(output, explanation, rgb)
    _tell(session, explanation, label, output, built, notes)


def _explain(
    session: Session, config: Config, image: str, trust: bool
) -> tuple[Explanation, np.ndarray[Any, Any], str, tuple[str, ...]]:
    """The map after all postprocessors, the picture as the model saw it, the target's name, notes on the picture."""
    if config.model is None:
        raise UsageError("no model is given", expected="--model or a [model] table")
    device = chosen_device(config.run.device)
    opened = open_guarded(session.registry, image, config.run)
    with closing(as_asked(opened, config.loader.params)) as slide:
        photograph, notes = _whole(slide), slide.notes
    model = load_model(config.model, trust=trust, base=config.base)
    model.module.to(device)
    preprocess = required_preprocess(config, model)
    model = replace(model, preprocess=preprocess)
    rgb = preprocess.fit_photograph(photograph)
    pixels = preprocess.normalise(rgb)[None].to(model.device)
    params = dict(config.explainer.params)
    explanation = explain_with(session.registry, model, pixels, config.explainer.name, **params)
    for stage in config.postprocessors:
        explanation = checked(stage, explanation, stage.apply)
    return explanation, rgb, model.label(explanation.targets[0]), notes


def _tables(config: Path | None, settings: list[str] | None, method: str | None) -> dict[str, Any]:
    tables = read_toml(config) if config else {}
    named = tables.get("explain", {})
    if method is not None and isinstance(named, dict) and named.get("method", "gradcam") != method:
        tables["explain"] = {"method": method}  # the file's other keys belong to the file's method
    tables = with_settings(tables, settings or [])
    if not isinstance(tables.get("explain", {}), dict):
        raise UsageError("'explain' is a table", got=type(tables["explain"]).__name__, expected="[explain]")
    tables.setdefault("explain", {}).setdefault("method", "gradcam")
    return tables


def _method_name(tables: dict[str, Any]) -> str:
    name = tables["explain"]["method"]
    if not isinstance(name, str):
        raise UsageError("[explain] does not say which method", got=repr(name), expected='method = "NAME"')
    return name


def _whole(slide: Slide) -> np.ndarray[Any, Any]:
    """All pixels of a photograph."""
    level = slide.levels[0]
    if level.height * level.width > _MOST_PIXELS:
        raise UsageError(
            "the image is too large to be explained at once",
            got=f"{level.width} × {level.height} pixels",
            expected=f"at most {_MOST_PIXELS} pixels",
            where=slide,
            hint="`xaipipe run` explains it tile by tile",
        )
    return slide.read(0, 0, 0, level.height, level.width)


def _write(output: Path, explanation: Explanation, rgb: np.ndarray[Any, Any]) -> None:
    if output.suffix == ".png":
        values = explanation.to_input()[0].float().cpu().sum(dim=0).numpy()
        save(output, png_bytes(overlay(rgb, values)))
        return
    values = explanation.values.float().cpu().numpy()
    save(output, npz_bytes(values=values, scale=explanation.grid.scale, offset=explanation.grid.offset))


def _tell(
    session: Session, explanation: Explanation, label: str, output: Path, config: Config, notes: tuple[str, ...]
) -> None:
    facts: dict[str, Any] = {
        "output": str(output),
        "target": explanation.targets[0],
        "label": label,
        "score": float(explanation.scores[0]),
        "cells": list(explanation.values.shape[1:]),
        "scale": explanation.grid.scale,
        "offset": explanation.grid.offset,
        **{_SAID_AS.get(name, name): value for name, value in explanation.diagnostics.items()},
    }
    if notes:
        facts["notes"] = "; ".join(notes)
    if config.segmenters:
        facts["not run"] = "segment: `xaipipe run` makes labels"
    if session.json:
        session.emit(facts)
        return
    for name, value in facts.items():
        session.out.print(f"{name:>8}  {value}", markup=False)
