"""Colours that go up to a percentile."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from xaipipe import Explanation, Params, Postprocessor
from xaipipe.display import styled


class PercentileClip(Postprocessor):
    """In a picture, magnitudes from a percentile on have the full colour; the values themselves stay as they are.

    Without this method that is the 99th percentile.

    Misleads when: maps are compared whose colours go up to different values. The legend says to which.

    Example: `[[postprocess]]` with `method = "percentile_clip"` and `percentile = 95`

    Reference: Smilkov, Thorat, Kim, Viégas, Wattenberg: SmoothGrad, 2017, on how maps are shown.
    """

    name = "percentile_clip"
    is_for_pictures: ClassVar[bool] = True

    class Params(Params):
        percentile: float = Field(99.0, gt=0, le=100, description="of the magnitudes but for zeros; 100: the largest")

    def apply(self, explanation: Explanation) -> Explanation:
        return styled(explanation, percentile=self.params.percentile)
