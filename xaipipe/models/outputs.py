"""Which of a model's outputs is looked at, where it returns several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from xaipipe.errors import UsageError, did_you_mean

_LISTED = 8


def chosen_output(answer: Any, output: int | str | None, source: str) -> Any:
    """The part of a model's answer that `output` names: a key, a position, or a dotted path of them.

    Without a name, an answer that holds one thing stands for that thing. What is None counts as not there.
    """
    if output is not None:
        return _only(_followed(answer, str(output), source), f"{output}.", source)
    return _only(answer, "", source)


def _only(answer: Any, prefix: str, source: str) -> Any:
    """The answer, or the only thing in it."""
    held = dict(_leaves(answer, prefix))
    if _parts(answer) is None or not held:
        return answer
    if len(held) == 1:
        return next(iter(held.values()))
    first = next(iter(held))
    value = first if first.isdecimal() else f'"{first}"'
    raise UsageError(
        "the model returns several outputs",
        got=_listed(held),
        expected="one of them",
        where=source,
        hint=f"choose one, such as output={value}; file: [model] output = {value}; flag: --model-output {first}",
    )


def _followed(answer: Any, path: str, source: str) -> Any:
    """The part of an answer that a path leads to."""
    if _parts(answer) is None:
        raise UsageError(
            "the model returns one output, there is none to choose",
            got=f"output '{path}' of {_described(answer)}",
            where=source,
            hint="leave 'output' out",
        )
    found, rest = answer, path
    while rest:
        step = _step(found, rest)
        if step is None:
            held = dict(_leaves(answer, ""))
            raise UsageError(
                f"the model returns no output '{path}'",
                got=_listed(held),
                where=source,
                hint=did_you_mean(path, held),
            )
        found, rest = step
    return found


def _step(answer: Any, path: str) -> tuple[Any, str] | None:
    """One step into an answer, and the path that is left. A key may itself hold a dot."""
    parts = _parts(answer) or {}
    head, _, rest = path.partition(".")
    for name, left in ((path, ""), (head, rest)):
        if name in parts:
            return parts[name], left
        if isinstance(answer, list | tuple) and _is_position(name, len(answer)):
            return answer[int(name)], left
    return None


def _is_position(name: str, length: int) -> bool:
    return name.removeprefix("-").isdecimal() and -length <= int(name) < length


def _leaves(answer: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Everything that an answer holds, by the path that leads there."""
    parts = _parts(answer)
    if parts is None:
        yield prefix.removesuffix("."), answer
        return
    for name, part in parts.items():
        if part is not None:
            yield from _leaves(part, f"{prefix}{name}.")


def _parts(answer: Any) -> dict[str, Any] | None:
    """What a container holds; None for anything else."""
    if isinstance(answer, Mapping):
        return {str(name): part for name, part in answer.items()}
    if isinstance(answer, tuple) and hasattr(answer, "_fields"):
        return dict(zip(answer._fields, answer, strict=True))
    if isinstance(answer, list | tuple):
        return {str(position): part for position, part in enumerate(answer)}
    if is_dataclass(answer) and not isinstance(answer, type):
        return {field.name: getattr(answer, field.name) for field in fields(answer)}
    return None


def _listed(held: Mapping[str, Any]) -> str:
    shown = [f"{path}: {_described(part)}" for path, part in held.items()]
    more = [f"and {len(shown) - _LISTED} more"] if len(shown) > _LISTED else []
    return "; ".join(shown[:_LISTED] + more)


def _described(part: Any) -> str:
    return str(tuple(part.shape)) if isinstance(part, Tensor) else type(part).__name__
