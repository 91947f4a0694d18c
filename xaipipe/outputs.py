"""What may be written over."""

from __future__ import annotations

from pathlib import Path

from xaipipe.errors import UsageError


def check_replaceable(output: Path, ours: bool, overwrite: bool, hint: str) -> None:
    """Refuse an output that exists: always where it is not ours, else unless it may be overwritten."""
    if not ours:
        raise UsageError(
            "the output exists and was not made by xaipipe",
            where=output,
            hint="choose another name; it was left as it is",
        )
    if not overwrite:
        raise UsageError("the output exists already", where=output, hint=hint)
