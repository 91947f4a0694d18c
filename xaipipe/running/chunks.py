"""How many images go through a model together, where a method has many made of each one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from threading import Lock
from typing import Annotated, Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from pydantic import Field
from torch import Tensor, nn

from xaipipe.doubts import remark
from xaipipe.models.forward import is_out_of_memory
from xaipipe.models.model import Model
from xaipipe.running.budget import Bytes
from xaipipe.running.in_parts import let_go_of
from xaipipe.running.live import sizes_of_tensors

R = TypeVar("R")
_MOST = 64
"""More images at once make nothing faster."""
_BESIDES = 2.0
"""What libraries hold for themselves, as a factor: the process grew by 1.9 times the tensors of a MobileNet step."""
_BESIDES_ON_CPU = 3.0
"""The same with the holes that freed buffers leave in the C library's heap: up to 2.8 times on images of 512²."""
_REUSED = 32 << 20
"""Bytes of the largest buffer that the C library keeps for the next one; larger ones go back to the system, which hands
out and clears other pages each time. On a ResNet that took up to a sixth of a pass."""

PointsBudget = Annotated[
    Bytes, Field(ge=1, description='memory for images that go through the model together, such as "4GiB"')
]


class Sizing:
    """Chunk sizes from a budget, remembered for each model and kind of image.

    One image is tried, and its tensors are counted. Neither free memory nor other threads have a say, so that the same
    call always makes the same chunks, and the same bits.
    """

    def __init__(self) -> None:
        self._bytes: WeakKeyDictionary[nn.Module, dict[Any, tuple[int, int]]] = WeakKeyDictionary()
        self._lock = Lock()

    def chunks(
        self,
        model: Model,
        image: Tensor,
        what: Hashable,
        budget: int,
        once: Callable[[], Any],
        held: int = 0,
        reuses: bool = False,
    ) -> Chunks:
        """For images like `image`, of which `once` sends one through the model. `what` names the kind of work.

        Of the budget, `held` bytes are for what the method keeps meanwhile. With `reuses`, right where every buffer
        grows with the chunk, a CPU gets so few at once that buffers are of a size that is kept for the next chunk.
        """
        key = (tuple(image.shape[-3:]), image.dtype, image.device, what)
        with self._lock:
            sizes = self._bytes.get(model.module, {}).get(key)
        if sizes is None:
            _, peak, largest = sizes_of_tensors(once)
            sizes = max(peak, 1), max(largest, 1)
            with self._lock:
                self._bytes.setdefault(model.module, {})[key] = sizes
        of_one, largest = sizes
        on_cpu = image.device.type == "cpu"
        fitting = int((budget - held) / ((_BESIDES_ON_CPU if on_cpu else _BESIDES) * of_one))
        most = min(_MOST, _REUSED // largest) if on_cpu and reuses else _MOST
        return Chunks(max(1, min(most, fitting)), image.device)


class Chunks:
    """Work in parts of one size, halved where memory gives out."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.size = size
        self._device = device

    def over(self, count: int, function: Callable[[range], R]) -> Iterator[R]:
        """The function's results for consecutive ranges that cover 0 … count - 1."""
        start = 0
        while start < count:
            some = range(start, min(start + self.size, count))
            try:
                result = function(some)
            except Exception as error:
                if len(some) == 1 or not is_out_of_memory(error):
                    raise
                self.size = len(some) // 2
                let_go_of(error, self._device)
                remark(
                    f"{len(some)} images at once did not fit into the memory of {self._device}: "
                    f"{self.size} at a time from here on; a smaller budget says so from the start"
                )
                continue  # when nothing holds the failed attempt's tensors any more
            yield result
            del result  # before the next one is made
            start = some.stop
