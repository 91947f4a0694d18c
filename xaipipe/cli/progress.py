"""Progress on stderr, as a hook around stages."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from xaipipe.cli.session import Session
from xaipipe.hookspecs import hookimpl
from xaipipe.running.run import Run
from xaipipe.stages import Stage

_NAME = "cli-progress"


class ProgressHook:
    """Advances a bar by the tiles of each batch, and a second one by committed regions.

    Tiles count when they are explained, for each target; in an exact run, most of whose passes explain nothing yet,
    when they are read.
    """

    def __init__(self, progress: Progress, tiles: TaskID, shards: TaskID) -> None:
        self._progress, self._tiles, self._shards = progress, tiles, shards

    @hookimpl(wrapper=True)
    def run_stage(self, stage: Stage, item: Any, run: Run) -> Generator[None, Any, Any]:
        result = yield
        if run.plan.passes == 1 and stage.kind == "explain":
            self._progress.advance(self._tiles, len(item.tiles))
        elif run.plan.passes > 1 and stage.kind == "load":
            self._progress.advance(self._tiles, len(item))
        elif stage.kind == "store":
            self._progress.advance(self._shards)
        return result


@contextmanager
def progress_of(session: Session, run: Run) -> Iterator[None]:
    """Bars while a run goes on; silent where nobody looks."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    for lines in session.registry.answers("report_header", run=run):
        for line in [lines] if isinstance(lines, str) else lines:
            session.err.print(line, markup=False)
    quiet = session.json or not session.err.is_terminal
    with Progress(*columns, console=session.err, disable=quiet) as progress:
        layout, targets = run.plan.layout, run.plan.targets
        shards = sum(1 for spec in (*layout.arrays, *layout.derived) for _ in spec.regions())
        times = run.plan.passes if run.plan.passes > 1 else targets
        hook = ProgressHook(
            progress,
            progress.add_task("explaining tiles", total=run.plan.tiles * times),
            progress.add_task("writing shards", total=shards * targets),
        )
        session.registry.hooks.register(hook, name=_NAME)
        try:
            yield
        finally:
            session.registry.hooks.unregister(name=_NAME)
