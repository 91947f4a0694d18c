"""What a model returns, with every tensor in it changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor


def mapped(change: Callable[[Tensor], Tensor], answer: Any) -> Any:
    """The answer with every tensor changed; the model's own containers stay as they are."""
    if isinstance(answer, Tensor):
        return change(answer)
    if isinstance(answer, Mapping):
        return _with(answer, {key: mapped(change, part) for key, part in answer.items()})
    if isinstance(answer, tuple | list):
        parts = [mapped(change, part) for part in answer]
        if all(new is old for new, old in zip(parts, answer, strict=True)):
            return answer
        return answer._make(parts) if hasattr(answer, "_make") else type(answer)(parts)
    if is_dataclass(answer) and not isinstance(answer, type):
        new = {field.name: mapped(change, getattr(answer, field.name)) for field in fields(answer)}
        if all(part is getattr(answer, name) for name, part in new.items()):
            return answer
        changed = copy.copy(answer)
        for name, part in new.items():
            object.__setattr__(changed, name, part)
        return changed
    return answer


def _with(answer: Mapping[Any, Any], new: dict[Any, Any]) -> Mapping[Any, Any]:
    if all(part is answer[key] for key, part in new.items()):
        return answer
    changed: Any = copy.copy(answer)
    for key, part in new.items():
        changed[key] = part
    return changed  # type: ignore[no-any-return]
