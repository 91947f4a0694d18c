"""Segmenters: the contract, and the exact answer of each against scikit-image."""

from __future__ import annotations

from dataclasses import astuple
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

import xaipipe
from xaipipe import Explanation, Grid, UsageError
from xaipipe.testing import SegmenterContract, blobs, segment_regions
from xaipipe_segment.components import Components
from xaipipe_segment.threshold import Threshold

POSITIVE = Threshold(by="value", value=0.0)


class TestThresholdOtsu(SegmenterContract):
    method = Threshold


class TestThresholdPercentile(SegmenterContract):
    method = Threshold
    params: ClassVar = {"by": "percentile", "percentile": 80.0}


class TestThresholdValue(SegmenterContract):
    method = Threshold
    params: ClassVar = {"by": "value", "value": 0.1}


class TestComponents(SegmenterContract):
    method = Components
    before = (POSITIVE,)


class TestComponentsOfFourNeighbours(SegmenterContract):
    method = Components
    before = (POSITIVE,)
    params: ClassVar = {"neighbours": 4, "min_area": 30}


@pytest.mark.parametrize("seed", range(5))
def test_otsu_is_within_a_bin_of_scikit_image(seed: int) -> None:
    generator = np.random.default_rng(seed)
    # overlapping, since any threshold inside a gap is as good as any other
    values = np.concatenate([generator.normal(0, 1, 30_000), generator.normal(2.5, 1, 10_000 * (seed + 1))])
    values = values.astype(np.float32)
    ours = Threshold().fit([xaipipe.Histogram.of(part) for part in np.array_split(values, 7)])
    theirs = threshold_otsu(values, nbins=1024)
    bin_of_theirs = float(np.ptp(values)) / 1024
    bin_of_ours = abs(theirs) / 128
    assert abs(ours - theirs) <= bin_of_theirs + bin_of_ours


def test_threshold_by_value_is_strict() -> None:
    explanation = blobs(step=1)
    labels = Threshold(by="value", value=0.25).segment(explanation, None).labels
    assert labels.bool().equal(explanation.values[:, 0] > 0.25)


@pytest.mark.parametrize("share", [5.0, 50.0, 99.0])
def test_percentile_leaves_its_share_below(share: float) -> None:
    explanation = blobs(step=1, cells=(80, 90))
    below = Threshold(by="percentile", percentile=share).segment(explanation, None).labels == 0
    assert float(below.float().mean()) == pytest.approx(share / 100, abs=0.02)


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Random pixels between none and all, with a few long bars that wind through many regions."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    mask = generator.random((height, width)) < draw(st.floats(0, 1))
    mask[:: draw(st.integers(2, 9))] |= draw(st.booleans())
    return mask


@settings(max_examples=60, deadline=None)
@given(masks(), st.integers(1, 45), st.sampled_from([4, 8]), st.integers(1, 6), st.integers(0, 1000))
def test_components_in_regions_are_those_of_the_whole(
    mask: np.ndarray, region: int, neighbours: int, min_area: int, order: int
) -> None:
    explanation = explanation_of(mask)
    components = Components(neighbours=neighbours, min_area=min_area)
    labels, (_, fitted) = segment_regions((POSITIVE, components), explanation, region, order)
    whole = label(mask, connectivity=neighbours // 4)
    kept = [prop for prop in regionprops(whole, explanation.values[0, 0].numpy()) if prop.area >= min_area]
    expected = np.zeros_like(whole)
    for number, prop in enumerate(kept, start=1):
        expected[whole == prop.label] = number
    np.testing.assert_array_equal(labels.numpy(), expected)
    found = components.instances(fitted)
    assert len(found) == len(kept)
    for number, (one, prop) in enumerate(zip(found, kept, strict=True), start=1):
        top, left, bottom, right = prop.bbox
        assert astuple(one)[:6] == (number, top, left, bottom - top, right - left, prop.area)
        assert (one.centre_y, one.centre_x) == pytest.approx(prop.centroid, rel=1e-12)
        assert (one.peak, one.mean) == pytest.approx((prop.intensity_max, prop.intensity_mean), rel=1e-6)


def explanation_of(mask: np.ndarray) -> xaipipe.Explanation:
    """A map on the image's own pixels, positive where the mask is and different everywhere."""
    evidence = np.random.default_rng(0).random(mask.shape).astype(np.float32) + 0.5
    values = torch.from_numpy(np.where(mask, evidence, -evidence))[None, None]
    return xaipipe.Explanation(values, xaipipe.Grid(), (0,), torch.zeros(1), mask.shape)


def test_components_want_labels() -> None:
    with pytest.raises(xaipipe.UsageError, match="start from labels"):
        Components().segment(blobs(), None)


@pytest.mark.parametrize("given", [{"value": 0.5}, {"percentile": 90.0}, {"by": "value"}])
def test_a_threshold_that_would_be_ignored_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Threshold(**given)


def test_evidence_beside_cells_without_a_value_is_not_diluted() -> None:
    """A map that is 1 wherever it has a value means 1 in every object."""
    valid = torch.zeros(1, 8, 8, dtype=torch.bool)
    valid[:, :, :4] = True
    item = Explanation(
        valid[:, None].float(), Grid((4.0, 4.0), (1.5, 1.5)), (0,), torch.zeros(1), (32, 32), valid=valid
    )
    labels = Components().segment(Threshold(by="value", value=0.5).segment(item, None), None)
    assert [one.mean for one in labels.instances] == pytest.approx([1.0])
