"""Comparing tensors, with a difference that can be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def assert_close(got: Tensor, want: Tensor, tolerance: float, what: str = "values") -> None:
    """Equal to a share of the largest wanted value."""
    assert got.shape == want.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    difference = float((got - want).abs().max())
    largest = float(want.abs().max())
    assert difference <= tolerance * largest, f"{what}: off by {difference:g}, the largest is {largest:g}"


def assert_same_bits(got: Tensor | None, want: Tensor | None, what: str = "values") -> None:
    """Equal to the last bit."""
    assert got is not None, f"{what}: nothing there"
    assert want is not None, f"{what}: nothing to compare with"
    assert got.shape == want.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    assert got.dtype == want.dtype, f"{what}: {got.dtype}, expected {want.dtype}"
    assert got.equal(want), f"{what}: {int((got != want).sum())} of {want.numel()} differ"


def assert_same_facts(got: Any, want: Any, tolerance: float, what: str = "diagnostics") -> None:
    """Equal, but that numbers may differ by a share of themselves, or of one where they are smaller."""
    if isinstance(want, float) and isinstance(got, float):
        assert abs(got - want) <= tolerance * max(abs(want), 1.0), f"{what}: {got:g}, expected {want:g}"
    elif isinstance(want, Mapping) and isinstance(got, Mapping):
        assert list(got) == list(want), f"{what}: {', '.join(got)}, expected {', '.join(want)}"
        for name in want:
            assert_same_facts(got[name], want[name], tolerance, f"{what}: {name}")
    elif isinstance(want, list) and isinstance(got, list):
        assert len(got) == len(want), f"{what}: {len(got)} values, expected {len(want)}"
        for index, (mine, other) in enumerate(zip(got, want, strict=True)):
            assert_same_facts(mine, other, tolerance, f"{what}[{index}]")
    else:
        assert got == want, f"{what}: {got!r}, expected {want!r}"
