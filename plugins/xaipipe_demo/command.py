"""`xaipipe demo`: a slide out of nothing, explained, and held against the truth."""

from __future__ import annotations

import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import zarr
from rich.progress import Progress

from xaipipe import Pipeline, StorageError, Summary, UsageError
from xaipipe.cli.execute import execute
from xaipipe.cli.report import human_seconds, print_rows, summary_facts
from xaipipe.cli.session import Session, session_of
from xaipipe.slides import open_slide
from xaipipe.types import Grid
from xaipipe_demo.config import RUN_TOML
from xaipipe_demo.judge import Verdict, judge
from xaipipe_demo.picture import Result, demo_picture
from xaipipe_demo.scene import Scene
from xaipipe_demo.tiff import write_slide

_MARK = ".made-by-xaipipe-demo"
_MADE = {_MARK, "run.toml", "slide.svs", "slide.zarr", "slide.zarr.ledger", "overview.png"}
_MADE |= {"slide.zarr.ledger-wal", "slide.zarr.ledger-shm", "slide.zarr.lock"}  # of a demo that was killed
_LARGEST = 100_000


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    context: typer.Context,
    size: Annotated[int, typer.Option(min=256, max=_LARGEST, help="Side of the slide in pixels.")] = 4096,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another slide.")] = 0,
    artefact: Annotated[list[str] | None, typer.Option(help="fold, pen or blur; may be repeated.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the slide and the result.")] = Path(
        "xaipipe-demo"
    ),
) -> None:
    """Generate a slide with damaged cells, find what a classifier saw of them, and check it against the truth."""
    session = session_of(context)
    scene = _scene(seed, size, artefact or [])
    folder = claim_folder(output)
    made = time.perf_counter()
    slide_file = _generate(session, scene, folder / "slide.svs")
    made = time.perf_counter() - made
    config = folder / "run.toml"
    config.write_text(RUN_TOML, encoding="utf-8")
    summary, grid = _explain(session, config, slide_file, folder / "slide.zarr")
    judged = time.perf_counter()
    store = zarr.open_group(summary.output, mode="r")
    result = Result(scene, open_slide(session.registry, slide_file), store, grid, summary.instances)
    verdict = judge(scene, result.labels)
    picture = demo_picture(result).save(folder / "overview.png")
    result.slide.close()
    seconds = Seconds(made, summary.seconds, time.perf_counter() - judged)
    _tell(session, summary, verdict, seconds, picture)


@dataclass(frozen=True)
class Seconds:
    """Where the time went."""

    generating: float
    explaining: float
    judging: float


def claim_folder(output: Path) -> Path:
    """The folder, without what an earlier demo left in it; where anything else is in it, it is left alone."""
    if output.exists():
        _require_ours(output)
    try:
        if output.exists():
            shutil.rmtree(output)
        output.mkdir(parents=True)
        (output / _MARK).touch()
    except OSError as error:
        raise StorageError("the folder cannot be written", got=error.strerror, where=error.filename) from None
    return output


def _require_ours(output: Path) -> None:
    if not (output / _MARK).is_file():
        raise UsageError("the folder exists and was not made by the demo", where=output, hint="choose another with -o")
    others = {entry.name for entry in output.iterdir()} - _MADE
    config = output / "run.toml"
    if config.is_file() and config.read_text(encoding="utf-8") != RUN_TOML:
        others.add("run.toml, which was changed")
    if others:
        raise UsageError(
            "the demo's folder holds what the demo did not make",
            got=", ".join(sorted(others)),
            where=output,
            hint="move it away, or choose another folder with -o",
        )


def _scene(seed: int, size: int, artefacts: list[str]) -> Scene:
    try:
        return Scene(seed, size, size, artefacts=frozenset(artefacts))
    except ValueError as error:
        raise UsageError(str(error)) from None


def _generate(session: Session, scene: Scene, path: Path) -> Path:
    quiet = session.json or not session.err.is_terminal
    with Progress(console=session.err, disable=quiet) as progress:
        task = progress.add_task("generating the slide", total=None)
        write_slide(scene, path, progress=lambda done, total: progress.update(task, completed=done, total=total))
    return path


def _explain(session: Session, config: Path, slide: Path, output: Path) -> tuple[Summary, Grid]:
    pipeline = Pipeline.from_toml(config, registry=session.registry, trust=True)  # the model is our own
    with pipeline.claimed(output):
        run = pipeline.prepare(slide)
        return execute(session, pipeline, run), run.plan.lattice.grid


def quoted(path: Path) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))


def _tell(session: Session, summary: Summary, verdict: Verdict, seconds: Seconds, picture: Path) -> None:
    if session.json:
        facts = {
            "damaged_cells": verdict.damaged,
            "found": verdict.found,
            "recall": verdict.recall,
            "precision": verdict.precision,
            "iou": verdict.iou,
            "seconds_generating": seconds.generating,
            "seconds_judging": seconds.judging,
            "picture": str(picture),
        }
        session.emit(summary_facts(summary) | facts)
        return
    print_rows(session.out, _rows(summary, verdict, seconds, picture))


def _rows(summary: Summary, verdict: Verdict, seconds: Seconds, picture: Path) -> list[tuple[str, str]]:
    times = {"generating": seconds.generating, "explaining": seconds.explaining, "judging": seconds.judging}
    slide, config = (quoted(picture.parent / name) for name in ("slide.svs", "run.toml"))
    right = f"{verdict.true_objects} on damaged cells ({verdict.precision:.1%})"
    return [
        ("damaged cells", f"{verdict.damaged} on the slide, {verdict.found} found ({verdict.recall:.1%})"),
        ("objects", f"{verdict.objects} segmented, {right}"),
        ("pixels", f"IoU {verdict.iou:.2f} of the objects with the damaged cells"),
        ("time", ", ".join(f"{name} {human_seconds(spent)}" for name, spent in times.items())),
        ("look at", str(picture)),
        ("open", f"{summary.output}  (OME-Zarr: image, heatmap with labels)"),
        ("table", str(summary.output / "instances.csv")),
        ("again", f"xaipipe run {slide} --config {config} --trust -o again.zarr"),
    ]
