"""Label images that the loader made of the whole slide, kept with the result."""

from __future__ import annotations

from typing import Any

import numpy as np

from xaipipe.running.commits import needed
from xaipipe.running.quarantine import commit
from xaipipe.running.run import Redone, Run
from xaipipe.types import Region


def keep_masks(run: Run) -> None:
    """Commit what is not there, or is there and was seen otherwise."""
    for mask in run.plan.masks:
        spec = run.plan.layout.array(mask.name)
        for region in spec.regions():
            labels = mask.labels[None, region.y : region.y + region.h, region.x : region.x + region.w]
            if needed(run, spec.name, region) or _differs(run, spec.name, region, labels):
                commit(run, spec.name, region, labels)


def _differs(run: Run, array: str, region: Region, data: np.ndarray[Any, Any]) -> bool:
    """Whether a committed region holds something else: what was seen of the slide may be more than at first."""
    held = run.config.store.read(array, *run.plan.layout.array(array).cells(region))
    if np.array_equal(held, data):
        return False
    run.redone.append(Redone(array, region, "the slide's mask is another than it was"))
    return True
