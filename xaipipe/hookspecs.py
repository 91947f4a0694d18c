"""The hooks a plugin can implement, grouped by when they fire."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import typer

    from xaipipe.pipeline import Summary
    from xaipipe.running.run import Run
    from xaipipe.stages import Stage
    from xaipipe.types import Slide

hookspec = pluggy.HookspecMarker("xaipipe")
hookimpl = pluggy.HookimplMarker("xaipipe")

# -------------------------------------------------------------------------------------------------
# At start-up
# -------------------------------------------------------------------------------------------------


@hookspec
def xaipipe_methods() -> Iterable[type[Stage]]:  # type: ignore[empty-body]
    """Return the plugin's methods: subclasses of Loader, Explainer, Postprocessor, Segmenter or Store.

    Fires once, when plugins are loaded; every plugin's answer counts.
    """


@hookspec
def xaipipe_commands(app: typer.Typer) -> None:
    """Add commands to the command line.

    Fires once, when the command line is built; every plugin's answer counts.
    """


@hookspec(firstresult=True)
def open_slide(path: Path) -> Slide | None:
    """Open an image or a slide, or return None where the file or folder is not this reader's.

    Fires when a run or a call opens its input; the first answer that is not None is taken. A file that is this
    reader's but broken is an `InputError`, not None.
    """


@hookspec(firstresult=True)
def open_url(url: str) -> Slide | None:
    """Open a slide that is not a file, or return None where this reader does not take such URLs.

    Fires instead of `open_slide` where the input is a URL; the first answer that is not None is taken. The slide's
    `location` is the URL, so that a resumed run opens it again.
    """


# -------------------------------------------------------------------------------------------------
# During a run: a batch or a region a call, never a pixel
# -------------------------------------------------------------------------------------------------


@hookspec
def report_header(run: Run) -> str | list[str] | None:
    """Lines to print above a run's progress.

    Fires once a run, before its first region; every plugin's answer is printed.
    """


@hookspec(firstresult=True)
def run_pipeline(run: Run) -> bool | None:
    """Execute a run: all its regions, both passes, and what the store derives of them. Return True when done.

    Fires once a run; the first answer that is not None is taken. The local executor answers last, so that a
    plugin can execute runs elsewhere. Where several targets are asked, `run.every` are the runs to execute.
    """


@hookspec(firstresult=True)
def run_stage(stage: Stage, item: Any, run: Run) -> Any:
    """Run one stage on one item (tiles, a batch, a region's map) and return its result.

    Fires for every stage and item, from several threads; the first answer that is not None is taken. The core
    answers last by calling the stage. Timing, progress, caches and checks wrap this hook (`wrapper=True`).
    """


# -------------------------------------------------------------------------------------------------
# After a run
# -------------------------------------------------------------------------------------------------


@hookspec
def provenance(run: Run) -> dict[str, Any] | None:
    """Facts to keep in the result's manifest.

    Fires once a run, before the manifest is written; all dictionaries are merged.
    """


@hookspec
def run_finished(run: Run, summary: Summary) -> None:
    """See what a run did.

    Fires once a run, after its manifest was written; every plugin is called.
    """
