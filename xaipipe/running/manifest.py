"""What a result says about how it was made: enough to make it again. No times, so that equal runs are equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from xaipipe.running.diagnostics import Diagnostics
from xaipipe.running.run import Run

MODES = {
    "approximate": "approximate: every tile is explained by itself",
    "exact": "exact: the map is that of the whole image",
}


@dataclass(frozen=True)
class PlanRecord:
    """What a run is: `identity` has to be the same for its bytes to be; `recipe` is how to prepare it again."""

    identity: Mapping[str, Any]
    recipe: Mapping[str, Any] | None
    """None where the run was made from Python objects that no file can name."""

    @property
    def plan(self) -> str:
        """The hash of the identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()


def record_of(run: Run, targets: Mapping[str, Any] | None = None) -> PlanRecord:
    """The record of a prepared run; `targets` are all that were asked with its own, by the names of their results.

    They are not part of its identity: a result is the same, whatever else was asked.
    """
    slide, config = run.plan.tiling.slide, run.config
    recipe = {"tables": config.tables, "base": str(config.base), "slide": slide.location}
    if targets is not None and _plain(targets) == targets:
        recipe["targets"] = targets
    named = slide.location is not None and config.model is not None and _plain(config.tables) == config.tables
    return PlanRecord(identity_of(run), _plain(recipe) if named else None)


def manifest_of(
    run: Run, findings: Mapping[str, Any], unreadable: int, diagnostics: Diagnostics | None
) -> dict[str, Any]:
    """The run's identity, what became of the tiles, what was found, what maps say of themselves, what plugins add."""
    plan = run.plan
    tiles = {
        "explained": plan.tiles,
        "background": dict(plan.background),
        "unjudged": plan.unjudged,
        "unreadable": unreadable,
    }
    manifest = {**identity_of(run), "tiles": tiles, "findings": _plain({**plan.findings, **findings})}
    if diagnostics is not None:
        manifest["diagnostics"] = diagnostics.facts
    for facts in run.registry.answers("provenance", run=run):
        if isinstance(facts, Mapping):
            for name, fact in _plain(facts).items():
                manifest.setdefault(name, fact)  # what the core says stands
    return manifest


def identity_of(run: Run) -> dict[str, Any]:
    """Settings, model, slide, plan, versions: what has to be equal for results to be equal.

    Of `[run]`, which says how the work is done, only the mode and the kind of device are among it.
    """
    plan, slide = run.plan, run.plan.tiling.slide
    return {
        "xaipipe": version("xaipipe"),
        "torch": torch.__version__,
        "mode": MODES[run.config.run.mode],
        "settings": _plain({name: table for name, table in run.config.tables.items() if name != "run"}),
        "model": {"source": run.model.source, "sha256": run.model.fingerprint, "output": run.model.output},
        "preprocess": _plain(run.preprocess.model_dump()),
        "slide": {"name": slide.name, "fingerprint": slide.fingerprint, "mpp": slide.mpp, "notes": list(slide.notes)},
        "plan": {
            "level": plan.tiling.level,
            "downsample": plan.layout.downsample,
            "tile_core": plan.tiling.core,
            "halo": plan.tiling.halo,
            "region": plan.tiling.region,
            "regions": len(plan.regions),
            "layer": plan.layer,
        },
        "load": _plain(run.config.loader.identity(run.fitted.get(run.config.loader))),
        "plugins": {plugin.name: plugin.origin for plugin in run.registry.plugins if plugin.state == "loaded"},
        "device": run.model.device.type,
    }


def _plain(value: Any) -> Any:
    """Only what JSON knows; anything else by its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
