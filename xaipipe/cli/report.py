"""Plans and summaries, for people and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from xaipipe.pipeline import Summary
from xaipipe.running.budget import Memory
from xaipipe.running.diagnostics import Diagnostics, Spread
from xaipipe.running.loading import counted
from xaipipe.running.manifest import MODES
from xaipipe.running.run import Run


def plan_facts(run: Run) -> dict[str, Any]:
    plan = run.plan
    return {
        "slide": str(plan.tiling.slide),
        "pixels": [plan.tiling.height, plan.tiling.width],
        "level": plan.tiling.level,
        "mode": run.config.run.mode,
        "mpp": _mpp(run),
        "notes": list(plan.tiling.slide.notes),
        "tiles": plan.tiles,
        "background_tiles_skipped": plan.skipped,
        "unjudged_tiles": plan.unjudged,
        "background": dict(plan.background),
        "findings": {name: dict(facts) for name, facts in plan.findings.items()},
        "tile_core": plan.tiling.core,
        "halo": plan.tiling.halo,
        "regions": len(plan.regions),
        "region": plan.tiling.region,
        "map": [plan.channels, plan.lattice.height, plan.lattice.width],
        "cell": plan.lattice.step[0],
        "layer": plan.layer,
        "bytes_before_compression": plan.bytes,
        "batch": plan.memory.sizes.batch,
        "expected_memory": plan.memory.expected,
        "memory_limit": plan.memory.limit,
        "estimated_seconds": round(plan.seconds, 1),
        "sampled_tiles": plan.sampled,
        "doubts_of_sample": list(run.doubts),
        **({"targets": _targets(run)} if run.name is not None else {}),
    }


def print_plan(console: Console, run: Run) -> None:
    plan, config = run.plan, run.config
    stages = [config.explainer.name, *(s.name for s in (*config.postprocessors, *config.segmenters))]
    share = f"{plan.skipped / max(plan.tiles + plan.skipped, 1):.0%}"
    skipped = f"{share}: {counted(plan.background)}" if plan.skipped else share
    halo = f" with {plan.tiling.halo} px of context around" if plan.tiling.halo else ""
    slide, mpp = plan.tiling.slide, _mpp(run)
    at = f" at {mpp:.4g} µm per pixel" if mpp else ""
    rows = [
        ("slide", f"{slide.name}, level {plan.tiling.level}{at}, {plan.tiling.height} × {plan.tiling.width} px"),
        *(("note", note) for note in slide.notes),
        ("stages", " → ".join(["load", *stages, "store"])),
        *([("targets", _named(_targets(run)))] if run.name is not None else []),
        ("mode", MODES[config.run.mode]),
        ("tiles", f"{plan.tiles} of {plan.tiling.core} px{halo}; {plan.skipped} background skipped ({skipped})"),
        *_found(plan.findings),
        ("regions", f"{len(plan.regions)} of {plan.tiling.region} px"),
        *([("layer", plan.layer)] if plan.layer is not None else []),
        (
            "map",
            f"{plan.lattice.height} × {plan.lattice.width} cells of {plan.lattice.step[0]} px, grid {plan.grid_source}",
        ),
        ("output", f"{human_bytes(plan.bytes)} before compression"),
        ("memory", _memory(plan.memory)),
        ("time", f"about {human_seconds(plan.seconds)} to explain, from {plan.sampled} timed tiles"),
    ]
    if plan.unjudged:
        said = "may be background, which an unreadable picture of the slide hides; they are explained"
        rows.insert(4, ("unjudged", f"{plan.unjudged} tiles {said}"))
    print_rows(console, rows)


def _targets(run: Run) -> dict[str, Any]:
    """By the names of their results."""
    asked = {str(one.name): one.config.explainer.params.target for one in run.every}
    return {name: target if isinstance(target, int) else str(target) for name, target in asked.items()}


def _named(targets: Mapping[str, Any]) -> str:
    return ", ".join(name if name == str(target) else f"{name} = {target}" for name, target in targets.items())


def _mpp(run: Run) -> float | None:
    """Micrometres per pixel of the explained level."""
    layout = run.plan.layout
    return layout.mpp * layout.downsample if layout.mpp else None


def summary_facts(summary: Summary) -> dict[str, Any]:
    return {
        "output": str(summary.output),
        "regions": summary.regions,
        "tiles": summary.tiles,
        "background_tiles_skipped": summary.skipped,
        "seconds": round(summary.seconds, 3),
        "stage_seconds": {name: round(seconds, 3) for name, seconds in summary.stage_seconds.items()},
        "bytes": summary.bytes_written,
        "unreadable": [
            {
                "array": one.array,
                "level": one.level,
                "y": one.y,
                "x": one.x,
                "h": one.h,
                "w": one.w,
                "reason": one.reason,
            }
            for one in summary.unreadable
        ],
        "notes": list(summary.notes),
        "redone": [f"{one.array}, {one.region}: {one.reason}" for one in summary.redone],
        "findings": summary.findings,
        "diagnostics": summary.diagnostics.facts if summary.diagnostics else None,
        **({"targets": {name: summary_facts(one) for name, one in summary.targets.items()}} if summary.targets else {}),
    }


def print_summary(console: Console, summary: Summary) -> None:
    stages = ", ".join(f"{name} {human_seconds(seconds)}" for name, seconds in summary.stage_seconds.items())
    rows = [
        ("done", f"{summary.tiles} tiles in {summary.regions} regions, {human_seconds(summary.seconds)} ({stages})"),
        *_found(summary.findings),
        *_said(summary.diagnostics),
        *(row for name, one in summary.targets.items() for row in [("target", name), *_of_target(one)]),
        *(("note", note) for note in summary.notes),
        ("written", f"{summary.output}, {human_bytes(summary.bytes_written)} of maps and labels"),
    ]
    if summary.unreadable:
        rows.append(("unreadable", _holes(summary)))
    print_rows(console, rows)


def _of_target(summary: Summary) -> list[tuple[str, str]]:
    return [*_found(summary.findings), *_said(summary.diagnostics), ("written", str(summary.output))]


def _holes(summary: Summary) -> str:
    """How much could not be read, why mostly, and what to do."""
    reasons = Counter(one.reason for one in summary.unreadable)
    most, count = reasons.most_common(1)[0]
    others = f", and {len(reasons) - 1} other reasons" if len(reasons) > 1 else ""
    place = next(iter(summary.targets.values()), summary).output
    listed = f"{place}/unreadable.csv lists them, `xaipipe resume` tries them again"
    pieces = sum(one.array.startswith("image") for one in summary.unreadable)
    image = f" and pieces of the image: {pieces}" if pieces else ""
    return f"tiles: {len(summary.unreadable) - pieces}{image}; {most} ({count}){others}; {listed}"


def _memory(memory: Memory) -> str:
    limit = "" if memory.limit is None else f" of {human_bytes(memory.limit)}"
    return f"about {human_bytes(memory.expected)}{limit}, batches of {memory.sizes.batch}"


def print_redone(console: Console, summary: Summary) -> None:
    """What a resumed run computed, and why; what was never there in one line."""
    never = [one for one in summary.redone if "never committed" in one.reason]
    for one in summary.redone:
        if one not in never:
            console.print(f"computed again: {one.array}, {one.region}: {one.reason}", markup=False)
    console.print(f"computed for the first time: {len(never)} shards", markup=False)


def human_bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def human_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_rows(console: Console, rows: list[tuple[str, str]]) -> None:
    """Names on the left, what there is to say on the right."""
    console.print(_two_columns(rows))


def _two_columns(rows: list[tuple[str, str]]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _found(findings: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """A row for each stage or step that found something out."""
    return [(name, ", ".join(f"{key} {_number(v)}" for key, v in facts.items())) for name, facts in findings.items()]


def _said(diagnostics: Diagnostics | None) -> list[tuple[str, str]]:
    """What maps say of themselves in one row, and a row for each kind of doubt."""
    if diagnostics is None:
        return []
    numbers = ", ".join(f"{name} {_spread(one)}" for name, one in diagnostics.numbers.items())
    return [("maps", numbers), *(("doubtful", text) for text in diagnostics.warnings())]


def _spread(one: Spread) -> str:
    if one.low == one.high:
        return _number(one.low)
    return f"{_number(one.mean)} ({_number(one.low)} … {_number(one.high)})"


def _number(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"({', '.join(_number(one) for one in value)})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
