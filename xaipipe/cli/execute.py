"""Carrying out a prepared run in a terminal: the plan, progress, what came of it."""

from __future__ import annotations

import warnings

import typer

from xaipipe.cli.progress import progress_of
from xaipipe.cli.report import print_plan, print_redone, print_summary, summary_facts
from xaipipe.cli.session import Session
from xaipipe.errors import FINISHED_WITH_HOLES, ExplanationWarning
from xaipipe.pipeline import Pipeline, Summary
from xaipipe.running.run import Run


def execute_and_tell(session: Session, pipeline: Pipeline, run: Run, *, resume: bool = False) -> None:
    """Execute a run whose output is claimed, and print its summary; ends with 3 where tiles could not be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExplanationWarning)  # the summary says it
        summary = execute(session, pipeline, run, resume=resume)
    if session.json:
        session.emit(summary_facts(summary))
    else:
        print_summary(session.out, summary)
    if summary.unreadable:
        raise typer.Exit(FINISHED_WITH_HOLES)


def execute(session: Session, pipeline: Pipeline, run: Run, *, resume: bool = False) -> Summary:
    """The same without the summary."""
    if not session.json:
        print_plan(session.err, run)
    with progress_of(session, run):
        summary = pipeline.execute(run, resume=resume)
    if resume and not session.json:
        print_redone(session.err, summary)
    return summary
