"""A histogram that needs no range, gathered in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

from xaipipe import Histogram

BIN = 1 / 8192
floats = st.floats(-(2.0**99), 2.0**99, width=32).filter(lambda value: value == 0 or abs(value) > 1e-30)


@given(st.lists(floats, min_size=1, max_size=200), st.integers(0, 200), st.randoms())
def test_parts_in_any_order_give_the_histogram_of_the_whole(values: list[float], cut: int, order: object) -> None:
    whole = np.asarray(values, np.float32)
    parts = [Histogram.of(whole[:cut]), Histogram.of(whole[cut:])]
    order.shuffle(parts)
    merged, at_once = Histogram.merged(parts), Histogram.of(whole)
    np.testing.assert_array_equal(merged.bins, at_once.bins)
    np.testing.assert_array_equal(merged.counts, at_once.counts)


@given(st.lists(floats, min_size=1, max_size=200), st.floats(0, 100))
def test_a_percentile_is_a_value_of_the_data_to_a_bin(values: list[float], share: float) -> None:
    data = np.asarray(values, np.float32)
    expected = np.quantile(data, share / 100, method="inverted_cdf")
    assert Histogram.of(data).percentile(share) == pytest.approx(float(expected), rel=BIN, abs=1e-30)


@given(st.integers(0, 2**32 - 1))
def test_otsu_is_scikit_images_to_its_bins(seed: int) -> None:
    random = np.random.default_rng(seed)
    data = np.concatenate([random.normal(2, 0.3, 4000), random.normal(6, 0.5, 3000)]).astype(np.float32)
    ours, theirs = Histogram.of(data).otsu(), threshold_otsu(data, nbins=1024)
    share = np.mean((data > ours) != (data > theirs))
    assert share < 0.01


def test_nan_is_left_out_and_zeros_of_both_signs_are_one() -> None:
    histogram = Histogram.of(np.asarray([np.nan, 0.0, -0.0, 1.0], np.float32))
    assert histogram.count == 3
    assert histogram.counts.tolist() == [2, 1]
    assert histogram.percentile(50) == 0.0


@pytest.mark.parametrize(("values", "expected"), [([], 0.0), ([3.0, 3.0], 3.0)])
def test_otsu_of_one_value_or_none(values: list[float], expected: float) -> None:
    assert Histogram.of(np.asarray(values, np.float32)).otsu() == pytest.approx(expected, rel=BIN)


@pytest.mark.parametrize("value", [1.0, 1.006, 0.1, 2.7, -3.3, 1e-20, 0.0])
def test_nothing_exceeds_the_threshold_of_a_constant_map(value: float) -> None:
    values = np.full(64, value, np.float32)
    histogram = Histogram.of(values)
    assert not (values > histogram.otsu()).any()
    assert not (values > histogram.percentile(50)).any()


@pytest.mark.parametrize("share", [1, 50, 99])
def test_a_narrow_distribution_is_cut_where_it_was_asked(share: float) -> None:
    values = np.random.default_rng(0).normal(100, 0.2, 20_000).astype(np.float32)
    cut = Histogram.of(values).percentile(share)
    assert abs((values <= cut).mean() * 100 - share) < 2


def test_zeros_can_be_left_out() -> None:
    values = np.asarray([0.0, -0.0, 0.0, -1.5, 2.0, 3.0], np.float32)
    left = Histogram.of(values).without_zeros()
    assert left.count == 3
    assert left.percentile(100) == Histogram.of(values).percentile(100)
    assert left.percentile(34) == Histogram.of(values[-2:]).percentile(0)
