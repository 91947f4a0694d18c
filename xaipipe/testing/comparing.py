"""Comparing tensors, with a difference that can be read."""

from __future__ import annotations

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
