"""`xaipipe run`: a slide, a configuration, a store."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from xaipipe.cli.execute import execute_and_tell
from xaipipe.cli.report import plan_facts, print_plan, print_rows
from xaipipe.cli.session import session_of
from xaipipe.cli.targets import as_setting
from xaipipe.errors import UsageError
from xaipipe.pipeline import Pipeline

MaxBadTiles = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="End the run when more tiles than this cannot be read; else any number may."),
]


def add_to(app: typer.Typer) -> None:
    app.command("run")(run)


def run(
    context: typer.Context,
    slide: Annotated[str, typer.Argument(help="A slide or an image: a file, an OME-Zarr, a URL of one.")],
    config: Annotated[Path, typer.Option(help="TOML file with the stages.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The OME-Zarr to write; of several targets, a folder of them.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE")] = None,
    target: Annotated[
        str | None,
        typer.Option(help="What is explained, in place of the file's; several with commas: truth=12,predicted"),
    ] = None,
    max_bad_tiles: MaxBadTiles = None,
    mpp: Annotated[
        float | None, typer.Option(help="µm per level-0 pixel, where the file does not say; --set load.mpp=…")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Let a model that is code run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a result of ours.")] = False,
) -> None:
    """Explain a slide into an OME-Zarr, by the stages of a configuration."""
    session = session_of(context)
    given = list(settings or [])
    given += [] if target is None else [f"explain.target={as_setting(target)}"]
    given += [] if mpp is None else [f"load.mpp={mpp}"]
    given += [] if max_bad_tiles is None else [f"run.max_bad_tiles={max_bad_tiles}"]
    pipeline = Pipeline.from_toml(config, given, registry=session.registry, trust=trust)
    if output is None and not dry_run:
        raise UsageError("no output is given", expected="-o NAME.zarr")
    with pipeline.claimed(output, overwrite=overwrite) if output else nullcontext():
        prepared = pipeline.prepare(slide)
        with closing(prepared.plan.tiling.slide):
            if not dry_run:
                execute_and_tell(session, pipeline, prepared)
            elif session.json:
                session.emit(plan_facts(prepared))
            else:
                print_plan(session.out, prepared)
                print_rows(session.out, [("doubtful", text) for text in prepared.doubts])
