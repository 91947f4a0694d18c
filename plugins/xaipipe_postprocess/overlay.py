"""How a map lies over its picture."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from xaipipe import Explanation, Params, Postprocessor
from xaipipe.display import Colours, styled


class Overlay(Postprocessor):
    """In a picture, which colours a map has, how much of what lies below shows through, and a legend.

    Misleads when: colours of one direction are chosen for signed values: what speaks against the target is then as dark
    as what does not matter is in others. 'auto' is diverging about zero for them.

    Example: `[[postprocess]]` with `method = "overlay"`, `colours = "viridis"` and `opacity = 0.5`

    Reference: none.
    """

    name = "overlay"
    is_for_pictures: ClassVar[bool] = True

    class Params(Params):
        colours: Colours = Field("auto", description="auto: diverging about zero where values are signed, else heat")
        opacity: float = Field(0.75, ge=0, le=1, description="of the strongest evidence")
        legend: bool = Field(True, description="a bar below that says which colour is which value")

    def apply(self, explanation: Explanation) -> Explanation:
        return styled(explanation, **self.params.model_dump())
