"""What a result says about how it was made: enough to make it again. No times, so that equal runs are equal."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from xaipipe.running.run import Run


def manifest_of(run: Run, findings: Mapping[str, Any]) -> dict[str, Any]:
    """The run's settings, model, slide, plan and findings, and what plugins add."""
    plan, slide = run.plan, run.plan.tiling.slide
    manifest: dict[str, Any] = {
        "xaipipe": version("xaipipe"),
        "torch": torch.__version__,
        "mode": "approximate: every tile was explained on its own",
        "settings": _plain(run.config.tables),
        "model": {"source": run.model.source, "sha256": run.model.fingerprint},
        "preprocess": run.preprocess.model_dump(),
        "slide": {"name": slide.path.name, "fingerprint": slide.fingerprint, "mpp": slide.mpp},
        "plan": {
            "level": plan.tiling.level,
            "tile_core": plan.tiling.core,
            "halo": plan.tiling.halo,
            "region": plan.tiling.region,
            "regions": len(plan.regions),
            "tiles": plan.tiles,
            "background_tiles_skipped": plan.skipped,
            "layer": plan.layer,
        },
        "plugins": {plugin.name: plugin.origin for plugin in run.registry.plugins if plugin.state == "loaded"},
        "findings": _plain(findings),
    }
    for facts in run.registry.answers("provenance", run=run):
        if isinstance(facts, Mapping):
            manifest.update(_plain(facts))
    return manifest


def _plain(value: Any) -> Any:
    """Only what JSON knows; anything else by its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
