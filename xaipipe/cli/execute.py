"""Carrying out a prepared run in a terminal: the plan, progress, what came of it."""

from __future__ import annotations

from xaipipe.cli.progress import progress_of
from xaipipe.cli.report import print_plan, print_redone, print_summary, summary_facts
from xaipipe.cli.session import Session
from xaipipe.pipeline import Pipeline, Summary
from xaipipe.running.run import Run


def execute_and_tell(session: Session, pipeline: Pipeline, run: Run, *, resume: bool = False) -> Summary:
    """Execute a run whose output is claimed, and print its summary."""
    summary = execute(session, pipeline, run, resume=resume)
    if session.json:
        session.emit(summary_facts(summary))
    else:
        print_summary(session.out, summary)
    return summary


def execute(session: Session, pipeline: Pipeline, run: Run, *, resume: bool = False) -> Summary:
    """The same without the summary."""
    if not session.json:
        print_plan(session.err, run)
    with progress_of(session, run):
        summary = pipeline.execute(run, resume=resume)
    if resume and not session.json:
        print_redone(session.err, summary)
    return summary
