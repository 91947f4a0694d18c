"""`xaipipe explain`: one photograph, one method, one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from xaipipe.api import explain_with
from xaipipe.cli.flags import PASS_ON, read_flags
from xaipipe.cli.session import Session, session_of
from xaipipe.config import build_config, read_toml, with_settings
from xaipipe.display import Picture, overlay
from xaipipe.errors import StorageError, UsageError
from xaipipe.models.sources import load_model
from xaipipe.pipeline import chosen_device
from xaipipe.running.planning import required_preprocess
from xaipipe.slides import open_slide
from xaipipe.types import Explanation


def add_to(app: typer.Typer) -> None:
    app.command("explain", context_settings=PASS_ON)(explain)


def explain(
    context: typer.Context,
    image: Annotated[Path, typer.Argument(help="PNG, JPEG, BMP or TIFF.")],
    model: Annotated[
        str | None, typer.Option(help="timm:NAME, torchvision:NAME, weights file, FILE.py:factory.")
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
    tables = _tables(config, settings, model, method)
    name = tables["explain"]["method"]
    kind = session.registry.method("explain", name)
    tables["explain"].update(read_flags(context.args, kind.Params, name))
    built = build_config(tables, session.registry, config.resolve().parent if config else None)
    output = output or Path(f"{image.stem}-{name}.png")
    _check_output(output, overwrite)
    slide = open_slide(session.registry, image)
    if built.model is None:
        raise UsageError("no model is given", expected="--model or a [model] table")
    loaded = load_model(built.model, built.preprocess, trust=trust, base=built.base)
    loaded.module.to(chosen_device(built.run.device))
    preprocess = required_preprocess(built, loaded)
    rgb = preprocess.fit_photograph(slide.read(0, 0, 0, slide.levels[0].height, slide.levels[0].width))
    pixels = preprocess.normalise(rgb)[None].to(loaded.device)
    params = dict(built.explainer.params)
    explanation = explain_with(session.registry, loaded, pixels, name, **params)
    _write(output, explanation, rgb)
    _tell(session, explanation, loaded.label(explanation.targets[0]), output)


def _tables(config: Path | None, settings: list[str] | None, model: str | None, method: str | None) -> dict[str, Any]:
    tables = with_settings(read_toml(config) if config else {}, settings or [])
    tables.setdefault("explain", {}).setdefault("method", "gradcam")
    if model is not None:
        tables.setdefault("model", {})["source"] = model
    if method is not None and method != tables["explain"]["method"]:
        # the file's other keys belong to the file's method
        tables["explain"] = {"method": method}
    return tables


def _check_output(output: Path, overwrite: bool) -> None:
    if output.suffix not in (".png", ".npz"):
        raise UsageError("unknown kind of output", got=output.name, expected="FILE.png or FILE.npz")
    if output.exists() and not overwrite:
        raise UsageError("the output exists already", where=output, hint="add --overwrite, or choose another name")
    if not output.absolute().parent.is_dir():
        raise StorageError("the folder of the output does not exist", where=output.absolute().parent)


def _write(output: Path, explanation: Explanation, rgb: np.ndarray[Any, Any]) -> None:
    if output.suffix == ".png":
        values = explanation.to_input()[0].float().cpu().sum(dim=0).numpy()
        Picture(overlay(rgb, values)).save(output)
        return
    try:
        np.savez(
            output,
            values=explanation.values.float().cpu().numpy(),
            scale=explanation.grid.scale,
            offset=explanation.grid.offset,
        )
    except OSError as error:
        raise StorageError("the output cannot be written", got=error.strerror, where=output) from None


def _tell(session: Session, explanation: Explanation, label: str, output: Path) -> None:
    facts = {
        "output": str(output),
        "target": explanation.targets[0],
        "label": label,
        "score": float(explanation.scores[0]),
        "cells": list(explanation.values.shape[1:]),
        "scale": explanation.grid.scale,
        "offset": explanation.grid.offset,
        **explanation.diagnostics,
    }
    if session.json:
        session.emit(facts)
        return
    for name, value in facts.items():
        session.out.print(f"{name:>8}  {value}", markup=False)
