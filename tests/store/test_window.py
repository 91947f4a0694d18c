"""The display window and the bytes in it."""

from __future__ import annotations

import numpy as np
import pytest

from xaipipe import Histogram
from xaipipe_store.window import Window


def window_of(*values: float) -> Window:
    return Window.of(Histogram.of(np.asarray(values, np.float32)))


def test_it_is_symmetric_where_values_are_signed() -> None:
    window = window_of(*np.linspace(-1, 3, 10_000))
    assert window.low == -window.high == pytest.approx(-3, rel=0.01)


def test_it_holds_zero_whatever_the_values() -> None:
    assert window_of(2, 3, 4).low == 0
    assert window_of(-4, -3, -2).high == 0


def test_rare_evidence_is_not_lost_among_zeros() -> None:
    """One cell of 100,000, far less than the thousandth that a percentile leaves out."""
    window = window_of(0.5, *np.zeros(100_000))
    assert window.high == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("values", [(), (0.0, 0.0), (np.nan,)])
def test_a_map_of_nothing_has_a_window_too(values: tuple[float, ...]) -> None:
    assert window_of(*values) == Window(0.0, 1.0)


def test_tiny_values_have_a_window_of_their_size() -> None:
    assert window_of(*np.linspace(0, 1e-20, 1000)).high == pytest.approx(1e-20, rel=0.01)


@pytest.mark.parametrize("window", [Window(0.0, 2.0), Window(-2.0, 2.0), Window(-2.0, 0.0)])
def test_values_can_be_had_back_to_half_a_step(window: Window) -> None:
    values = np.linspace(window.low, window.high, 1001).astype(np.float32)
    low, high = window.low, window.high
    for value, byte in zip(values.tolist(), window.as_bytes(values).tolist(), strict=True):
        back = eval(str(window.facts["value"]), {"low": low, "high": high, "byte": byte})
        assert abs(back - value) <= (high - low) / 254 / 2 + 1e-7


def test_bytes_mean_what_the_metadata_say() -> None:
    window = Window(-2.0, 2.0)
    values = np.asarray([np.nan, -9, -2, 0, 2, 9], np.float32)
    assert window.as_bytes(values).tolist() == [0, 1, 1, 128, 255, 255]
    assert window.facts["not_explained"] == 0
