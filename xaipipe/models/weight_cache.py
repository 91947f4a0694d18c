"""What is made of a model's weights, kept as long as they stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from torch import Tensor

Stamp = tuple[int, int, int]


class WeightCache:
    """What is made of a model's own parameters and buffers, as long as they stay as they are.

    Seen are optimizers, `load_state_dict`, in-place operators, `parameter.data = new`; not `parameter.data.mul_(2)`,
    nor a norm's statistics in training, of which torch does not say that they changed. So a cache lives for a call of
    `explain`, or for a run.
    """

    def __init__(self) -> None:
        self._constants: dict[int, tuple[Tensor, Tensor]] = {}
        self._kept: dict[tuple[Any, ...], tuple[tuple[Stamp, ...], tuple[Tensor, ...], Any]] = {}

    def constant(self, parameter: Tensor) -> Tensor:
        """The parameter without its gradient; the same tensor each time."""
        kept = self._constants.get(id(parameter))
        if kept is None or kept[0] is not parameter or _place(kept[1]) != _place(parameter):
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

    def forget_all_but(self, own: Container[int]) -> None:
        """Let go of weights that the model has no more; `own` has the ids of those that it has."""
        for key, (parameter, constant) in list(self._constants.items()):
            if key not in own or _place(constant) != _place(parameter):
                self._constants.pop(key, None)
        constants = {id(constant) for _, constant in list(self._constants.values())}
        for name, (_, sources, _) in list(self._kept.items()):
            if not all(id(source) in own or id(source) in constants for source in sources):
                self._kept.pop(name, None)


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _stamp(tensor: Tensor) -> Stamp:
    version = 0 if tensor.is_inference() else tensor._version
    return version, tensor.data_ptr(), hash((tensor.dtype, tuple(tensor.shape), tensor.stride()))
