"""What is made of a model's weights, kept as long as they stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

Stamp = tuple[int, int, int]


class WeightCache:
    """What is made of a model's own parameters and buffers, as long as they stay as they are."""

    def __init__(self) -> None:
        self._constants: dict[int, tuple[Tensor, Tensor]] = {}
        self._kept: dict[tuple[Any, ...], tuple[tuple[Stamp, ...], tuple[Tensor, ...], Any]] = {}

    def constant(self, parameter: Tensor) -> Tensor:
        """The parameter without its gradient; the same tensor each time."""
        kept = self._constants.get(id(parameter))
        if kept is None or kept[0] is not parameter or kept[1].data_ptr() != parameter.data_ptr():
            kept = self._constants[id(parameter)] = (parameter, parameter.detach())
        return kept[1]

    def made(self, name: str, sources: tuple[Tensor, ...], make: Callable[[], Any]) -> Any:
        """`make()`, or what it made before of the same sources in the same state."""
        key = (name, *map(id, sources))
        stamps = tuple(map(_stamp, sources))
        kept = self._kept.get(key)
        if kept is not None and kept[0] == stamps:
            return kept[2]
        made = make()
        self._kept[key] = (stamps, sources, made)  # the sources too: as long as they live nothing else has their ids
        return made


def _stamp(tensor: Tensor) -> Stamp:
    version = 0 if tensor.is_inference() else tensor._version
    return version, tensor.data_ptr(), hash((tensor.dtype, tuple(tensor.shape)))
