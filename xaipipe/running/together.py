"""Several targets explained together: what their runs ask of a batch is answered by one call of the method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xaipipe.asked import Answers, Asked
from xaipipe.running.run import Run
from xaipipe.types import Batch, Explanation


def explained_for(runs: Sequence[Run], batch: Batch) -> list[Explanation]:
    """A batch's map for the target of each run, each through the hooks as if it had been made alone."""
    if len(runs) == 1:
        return [runs[0].stage(runs[0].config.explainer, batch)]
    answers = Answers([run.config.explainer.params.question for run in runs])
    asked = [replace(batch, asked=Asked(answers, number)) for number in range(len(runs))]
    return [run.stage(run.config.explainer, one) for run, one in zip(runs, asked, strict=True)]
