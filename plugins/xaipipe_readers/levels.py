"""How many level-0 pixels a pixel of a coarser level spans."""

from __future__ import annotations

Size = tuple[int, int]


def downsample_of(base: Size, size: Size, stated: float = 0.0) -> float:
    """What is stated, or a whole number, where the sizes are what dividing by it leaves; else the sizes' mean ratio."""
    ratio = sum(large / small for large, small in zip(base, size, strict=True)) / 2
    for candidate in (stated, float(round(ratio))):
        if candidate and all(
            abs(large - candidate * small) < candidate for large, small in zip(base, size, strict=True)
        ):
            return candidate
    return ratio
