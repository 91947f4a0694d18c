"""What is kept of an operation's output until the way back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xaipipe.errors import InputError


@dataclass(eq=False, slots=True)
class WayBack:
    """Of one forward pass, as all its operations see it."""

    comes_again: bool = True
    """Whether there will be another one, so that what is kept has to stay."""


class Output:
    """An output for the rule of the operation that made it.

    It may be left to the operation that reads it, which then hands it in on every way back, before it is asked for.
    """

    __slots__ = ("_handed", "_kept", "_version", "_way_back", "is_left")

    def __init__(self, way_back: WayBack) -> None:
        self._way_back = way_back
        self._kept: Tensor | None = None
        self._handed: Tensor | None = None
        self._version = 0
        self.is_left = False

    def keep(self, tensor: Tensor) -> None:
        self._kept, self._version, self.is_left = tensor.detach(), tensor._version, False

    def leave(self) -> None:
        self._kept, self.is_left = None, True

    def hand_in(self, tensor: Tensor, everywhere: bool) -> None:
        """By a reader that it was left to; what one knows everywhere counts more than what another knows in part."""
        if self.is_left and (everywhere or self._handed is None):
            self._handed = tensor

    def take(self) -> Tensor:
        """On the way back."""
        if self.is_left:
            handed, self._handed = self._handed, None
            assert handed is not None, "what an output was left to comes first on the way back"
            return handed
        kept = self._kept
        assert kept is not None, "a way back that was said to be the last is gone again"
        if kept._version != self._version:
            raise InputError(
                "the model changed the output of one of its layers behind torch's back",
                got=f"a tensor {tuple(kept.shape)} that was written into",
                expected="operators that xaipipe sees",
            )
        if not self._way_back.comes_again:
            self._kept = None
        return kept
