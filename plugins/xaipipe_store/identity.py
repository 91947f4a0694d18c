"""Whether a run may go on with what another began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xaipipe import UsageError

_SHOWN = 5


def require_same(before: Mapping[str, Any] | None, now: Mapping[str, Any], output: Path) -> None:
    """Refuse to mix the results of two plans, naming what differs."""
    if before == now:
        return
    differences = list(_differences(before or {}, now, ""))
    shown = "; ".join(differences[:_SHOWN])
    more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    raise UsageError(
        "this output was begun under another plan",
        got=shown + more,
        where=output,
        hint="put back what changed, or begin anew with --overwrite",
    )


def _differences(before: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield f"{path} was {_short(before)}, is {_short(now)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
