"""How many bytes of tensors are alive at once while something runs.

Unlike the process's memory this is the same on every machine and in every thread, so that what is planned by it, and
with it the last bit of a result, does not depend on what else is going on. Buffers inside libraries are not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from weakref import finalize

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

R = TypeVar("R")


def peak_of_tensors(function: Callable[[], R]) -> tuple[R, int]:
    """A function's result, and the most bytes at once of the tensors that it made."""
    result, peak, _ = sizes_of_tensors(function)
    return result, peak


def sizes_of_tensors(function: Callable[[], R]) -> tuple[R, int, int]:
    """The same, and the bytes of the largest of these tensors."""
    counting = _Counting()
    with counting:
        result = function()
    return result, counting.peak, counting.largest


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self.largest = 0
        self._alive: dict[int, int] = {}
        """Bytes by storage; 0 for those that were there before."""
        self._now = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for storage in _storages((args, kwargs)):
            self._note(storage, 0)
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            self._note(storage, storage.nbytes())
        return result

    def _note(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key not in self._alive:
            self._alive[key] = size
            self._now += size
            self.peak, self.largest = max(self.peak, self._now), max(self.largest, size)
            finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._now -= self._alive.pop(key, 0)


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    for value in tree_leaves(values):
        if isinstance(value, Tensor) and value.layout == torch.strided:
            yield value.untyped_storage()
