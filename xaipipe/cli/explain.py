"""`xaipipe explain`: one photograph to one picture, by one method for one target, or by several for several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from torch import Tensor

from xaipipe.api import explain_each_with
from xaipipe.cli.flags import PASS_ON, split_flags
from xaipipe.cli.model_flags import with_model
from xaipipe.cli.outputs import check_output
from xaipipe.cli.session import Session, session_of
from xaipipe.cli.shown import Rows, Shown, facts_of, write
from xaipipe.cli.targets import as_text, named_targets
from xaipipe.config import Config, build_config, read_toml, with_settings
from xaipipe.errors import UsageError
from xaipipe.models.model import Model
from xaipipe.models.sources import load_model
from xaipipe.models.weight_cache import WeightCache
from xaipipe.pipeline import chosen_device
from xaipipe.reading.opening import open_guarded
from xaipipe.running.checks import checked
from xaipipe.running.planning import required_preprocess
from xaipipe.slides import as_asked
from xaipipe.stages import Explainer
from xaipipe.types import Slide

_MOST_PIXELS = 1 << 28
"""Resizing needs a dozen bytes for each."""


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
    beside: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="Another method, shown below for the same targets.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="FILE.png (overlay) or FILE.npz (raw values and grid).")
    ] = None,
    colours_to: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENTILE",
            min=0,
            max=100,
            help="Of the magnitudes, but for zeros, the one that has the full colour; 100: the largest; default 99.",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with [model], [preprocess], [explain].")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Let a model that is code run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Explain one photograph. Flags of the method follow, such as --layer and --target.

    Several targets, such as `--target truth=12,predicted`, are shown side by side, from one pass over the model.
    """
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
    asking = [built.explainer, *(_asking_as(built.explainer, other, session) for other in beside or [])]
    rows, rgb, notes = _explain(session, built, asking, images[0], trust)
    if colours_to is not None:
        rows = [[shown.in_colours_to(colours_to) for shown in row] for row in rows]
    write(output, rows, rgb)
    _tell(session, rows, output, built, notes)


def _explain(
    session: Session, config: Config, asking: Sequence[Explainer], image: str, trust: bool
) -> tuple[Rows, np.ndarray[Any, Any], tuple[str, ...]]:
    """The maps of every method after all postprocessors, the picture as the model saw it, notes on the picture."""
    if config.model is None:
        raise UsageError("no model is given", expected="--model or a [model] table")
    device = chosen_device(config.run.device)
    opened = open_guarded(session.registry, image, config.run)
    with closing(as_asked(opened, config.loader.params)) as slide:
        photograph, notes = _whole(slide), slide.notes
    model = load_model(config.model, trust=trust, base=config.base)
    model.module.to(device)
    preprocess = required_preprocess(config, model)
    model = replace(model, preprocess=preprocess, weights=WeightCache())
    rgb = preprocess.fit_photograph(photograph)
    pixels = preprocess.normalise(rgb)[None].to(model.device)
    return [_row(session, config, explainer, model, pixels) for explainer in asking], rgb, notes


def _asking_as(explainer: Explainer, name: str, session: Session) -> Explainer:
    """Another method that is asked the same, with those of the given parameters that it has too."""
    kind = session.registry.method("explain", name)
    given = {key: value for key, value in explainer.params if key in explainer.params.model_fields_set}
    shared = {key: value for key, value in given.items() if key in kind.Params.model_fields}
    return cast(Explainer, kind(kind.Params.parse(shared, f"explain method '{name}'", session.registry)))


def _row(session: Session, config: Config, explainer: Explainer, model: Model, pixels: Tensor) -> list[Shown]:
    """One method's maps of all targets, from one call."""
    targets = named_targets(explainer.params.target, model.labels)
    params = {name: value for name, value in explainer.params if name != "target"}
    each = explain_each_with(session.registry, model, pixels, explainer.name, [one.target for one in targets], **params)
    shown = []
    for one, explanation in zip(targets, each, strict=True):
        for stage in config.postprocessors:
            explanation = checked(stage, explanation, stage.apply)
        label = model.label(explanation.targets[0])
        shown.append(Shown(explainer.name, explanation, label, one.caption(label)))
    return shown


def _tables(config: Path | None, settings: list[str] | None, method: str | None) -> dict[str, Any]:
    tables = read_toml(config) if config else {}
    named = tables.get("explain", {})
    if method is not None and isinstance(named, dict) and named.get("method", "gradcam") != method:
        tables["explain"] = {"method": method}  # the file's other keys belong to the file's method
    tables = with_settings(tables, settings or [])
    if not isinstance(tables.get("explain", {}), dict):
        raise UsageError("'explain' is a table", got=type(tables["explain"]).__name__, expected="[explain]")
    explain = tables.setdefault("explain", {})
    explain.setdefault("method", "gradcam")
    if "target" in explain:
        explain["target"] = as_text(explain["target"])
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


def _tell(session: Session, rows: Rows, output: Path, config: Config, notes: tuple[str, ...]) -> None:
    facts: dict[str, Any] = {"output": str(output), **facts_of(rows)}
    if notes:
        facts["notes"] = "; ".join(notes)
    if config.segmenters:
        facts["not run"] = "segment: `xaipipe run` makes labels"
    if session.json:
        session.emit(facts)
        return
    for name, value in facts.items():
        if name == "maps":
            for one in value:
                session.out.print()
                _list(session, one)
            session.out.print()
        else:
            _list(session, {name: value})


def _list(session: Session, facts: Mapping[str, Any]) -> None:
    for name, value in facts.items():
        session.out.print(f"{name:>8}  {value}", soft_wrap=True)  # paths and names stay whole
