"""What every stain normalisation has: a look that is fitted to a slide, and the way from one look to another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from xaipipe import InputError, Params
from xaipipe_tiles.density import USUAL_WHITE, White

STAINED = 0.15
"""Mean optical density from which a pixel counts as stained: Macenko's β."""
_FEWEST = 256


class Look(Params):
    """How a slide looks; a field's default is the reference's."""

    white: White = Field(USUAL_WHITE, description="colour of empty glass, 0 … 255")


class Stain(ABC):
    """Pixels of a slide with one look → as they would be with another, the same for every tile of the slide."""

    name: ClassVar[str]
    Look: ClassVar[type[Look]] = Look

    def __init__(self, own: Any, reference: Any) -> None:
        self.own, self.reference = own, reference

    @classmethod
    @abstractmethod
    def fit(cls, stained: np.ndarray, white: White) -> Look:
        """The look of a slide with this glass, from its stained pixels uint8 [n, 3], of which there are enough."""

    @abstractmethod
    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [..., 3] as it would be with the reference's look."""

    @classmethod
    def fitted(cls, stained: np.ndarray, white: White | None, reference: Any, where: Any) -> Stain:
        """From a slide to a reference; light that cannot be measured, for want of glass, is left as it is."""
        if len(stained) < _FEWEST:
            raise unfit("nothing on it is stained", f"{len(stained)} pixels of stained tissue", where)
        try:
            return cls(cls.fit(stained, white or reference.white), reference)
        except ValueError as error:
            raise unfit("its colours do not tell stains apart", error, where) from None


def unfit(problem: str, got: object, where: object) -> InputError:
    return InputError(
        f"the slide's stain cannot be normalised: {problem}", got=got, where=where, hint='set [load] stain = "off"'
    )


def rounded(values: np.ndarray) -> tuple[float, ...]:
    """As a manifest lists them, so that what is copied from it is what was used."""
    return tuple(round(float(value), 6) for value in values)
