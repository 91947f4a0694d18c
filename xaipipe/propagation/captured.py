"""Constants that rules will look at on the way back, and that nobody may change before."""

from __future__ import annotations

from torch import Tensor

from xaipipe.errors import InputError
from xaipipe.propagation.calls import Call


class Captured:
    """Of one forward pass."""

    def __init__(self) -> None:
        self._kept: list[tuple[Tensor, int, str, str]] = []

    def keep(self, call: Call) -> None:
        """Remember the state that a call's constants are in."""
        for constant in call.constants:
            if not constant.is_inference():
                self._kept.append((constant, constant._version, call.name, call.layer))

    def require_unchanged(self) -> None:
        for constant, version, name, layer in self._kept:
            if constant._version != version:
                raise InputError(
                    "the model changed a tensor in place that it had computed with before",
                    got=f"{tuple(constant.shape)}, an argument of {name}",
                    where=f"layer '{layer}'" if layer else "the model's own forward",
                    hint="make a new one (a = a + 1 in the place of a += 1), or compute with a clone",
                )
