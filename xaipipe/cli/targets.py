"""Several targets on a command line: `truth=12,predicted`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xaipipe.errors import UsageError
from xaipipe.params import toml_value


@dataclass(frozen=True)
class NamedTarget:
    """A target and what a person calls it; None where it is called what it is."""

    target: Any
    name: str | None = None

    def caption(self, label: str) -> str:
        return label if self.name is None else f"{self.name}: {label}"


def named_targets(asked: Any, labels: Sequence[str]) -> list[NamedTarget]:
    """One target, or several with commas, each with a name before it or not. Labels may hold both signs."""
    if not isinstance(asked, str) or asked in labels:
        return [NamedTarget(asked)]
    text = asked.strip()
    listed = toml_value(text) if text.startswith("[") else None
    parts = [str(part) for part in listed] if isinstance(listed, list) else list(_divided(text, labels))
    if not parts or not all(parts):
        raise UsageError("a target is missing", got=asked, expected="targets with commas between them")
    return [_named(part, labels) for part in parts]


def as_text(target: Any) -> Any:
    """What a file asks, as it is written on a command line where it is a list, or a table of names and targets."""
    if isinstance(target, Mapping):
        target = [f"{name}={one}" for name, one in target.items()]
    if not isinstance(target, list):
        return target
    return f"[{', '.join(_quoted(str(one)) for one in target)}]"


def as_setting(text: str) -> str:
    """What is asked of a run, as its settings want it: one target, a list, or a table of names and targets.

    The model's labels are not known yet: where they hold commas or equals signs, the text is a TOML list or table.
    """
    if text.strip()[:1] in ("[", "{") and not isinstance(toml_value(text.strip()), str):
        return text.strip()
    asked = named_targets(text, ())
    if len(asked) == 1 and "=" not in text:
        return _quoted(text.strip())
    if all("=" not in part for part in text.split(",")):
        return f"[{', '.join(_quoted(one.target) for one in asked)}]"
    return f"{{{', '.join(f'{_quoted(one.name or one.target)} = {_quoted(one.target)}' for one in asked)}}}"


def _quoted(text: str) -> str:
    """A text in TOML; an index is a number."""
    return str(int(text)) if text.isascii() and text.isdecimal() else json.dumps(text, ensure_ascii=False)


def _divided(text: str, labels: Sequence[str]) -> Iterator[str]:
    """At commas, but for those inside a label; the longest label counts."""
    parts = text.split(",")
    first = 0
    while first < len(parts):
        ends = range(len(parts), first, -1)
        end = next((end for end in ends if _is_label(",".join(parts[first:end]), labels)), first + 1)
        yield ",".join(parts[first:end]).strip()
        first = end


def _is_label(text: str, labels: Sequence[str]) -> bool:
    return _named(text.strip(), labels).target in labels


def _named(text: str, labels: Sequence[str]) -> NamedTarget:
    name, equals, target = text.partition("=")
    if text in labels or not equals:
        return NamedTarget(text, "predicted" if text == "predicted" else None)
    if not name.strip() or not target.strip():
        raise UsageError("a target has a name or nothing before it", got=text, expected="truth=12")
    return NamedTarget(target.strip(), name.strip())
