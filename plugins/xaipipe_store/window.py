"""The window in which a map is shown, and the map as bytes in that window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xaipipe import Histogram

NOTHING = 0
"""The byte of a cell that was not explained."""
_FIRST, _STEPS = 1, 254


@dataclass(frozen=True, slots=True)
class Window:
    """Values from low to high; 0 lies in it, and in its middle where values are signed."""

    low: float
    high: float

    @classmethod
    def of(cls, histogram: Histogram) -> Window:
        """All but the outermost thousandth of the slide's values, on each side.

        Zeros are left out: where evidence is rare, a map that is zero elsewhere would have none in its window.
        """
        values = histogram.without_zeros()
        low, high = min(values.percentile(0.1), 0.0), max(values.percentile(99.9), 0.0)
        if low < 0 < high:
            low, high = -max(-low, high), max(-low, high)
        return cls(low, high) if low < high else cls(0.0, 1.0)

    def as_bytes(self, values: np.ndarray) -> np.ndarray:
        """1 … 255 from low to high, 128 for 0 where values are signed; 0 where there is no value."""
        share = (values.astype(np.float64) - self.low) / (self.high - self.low)
        steps = np.rint(np.clip(np.nan_to_num(share), 0, 1) * _STEPS) + _FIRST
        return np.where(np.isnan(values), NOTHING, steps).astype(np.uint8)

    @property
    def facts(self) -> dict[str, object]:
        """What metadata say, so that values can be had back to half a step."""
        return {
            "low": self.low,
            "high": self.high,
            "value": f"low + (byte - {_FIRST}) * (high - low) / {_STEPS}",
            "not_explained": NOTHING,
        }
