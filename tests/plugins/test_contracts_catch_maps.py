"""Every check of the postprocessors' and segmenters' contracts fails for a method that breaks its promise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from xaipipe import BoundaryError, Explanation, Postprocessor, Segmentation, Segmenter
from xaipipe.testing import PostprocessorContract, SegmenterContract, StageContract
from xaipipe_postprocess.smooth import Smooth
from xaipipe_segment.threshold import Threshold


class Halved(Postprocessor):
    name = "halved"

    def apply(self, explanation: Explanation) -> Explanation:
        return explanation.replace(values=explanation.values / 2)


class Shrunk(Halved):
    def apply(self, explanation: Explanation) -> Explanation:
        return explanation.replace(values=F.avg_pool2d(explanation.values, 2))


class FillsHoles(Halved):
    def apply(self, explanation: Explanation) -> Explanation:
        return explanation.replace(values=explanation.values + 1)


class Overwrites(Halved):
    def apply(self, explanation: Explanation) -> Explanation:
        return explanation.replace(values=explanation.values.clamp_(min=0))


class Noisy(Halved):
    def apply(self, explanation: Explanation) -> Explanation:
        return explanation.replace(values=explanation.values + torch.rand_like(explanation.values))


class NormalisedPerCall(Halved):
    def apply(self, explanation: Explanation) -> Explanation:
        return explanation.replace(values=explanation.values / explanation.values.abs().max())


class LiesAboutItsHalo(Smooth):
    def halo(self) -> int:
        return super().halo() - 2

    def _blur(self, maps: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(maps, 2 * super().halo() + 1, 1, super().halo())


class PositiveCells(Segmenter):
    """The map's own cells where they exceed the mean of the slide."""

    name = "positive_cells"

    def survey(self, item: Explanation | Segmentation) -> tuple[float, int]:
        assert isinstance(item, Explanation)
        own = [item.grid.cells_within(axis, 0, item.input_size[axis], item.values.shape[2 + axis]) for axis in (0, 1)]
        values = item.values[:, :, own[0], own[1]].double()
        return float(values.sum()), values.numel()

    def fit(self, surveys: Iterable[tuple[float, int]]) -> float:
        sums = sorted(surveys)
        return round(sum(total for total, _ in sums) / sum(count for _, count in sums), 6)

    def findings(self, fitted: float) -> dict[Any, Any]:
        return {"mean": fitted}

    def segment(self, item: Explanation | Segmentation, fitted: float | None) -> Segmentation:
        assert isinstance(item, Explanation)
        if fitted is not None:
            return self.above(item, fitted)
        maps = [item.replace(values=item.values[i : i + 1], targets=(1,)) for i in range(len(item))]
        labels = [self.above(one, self.fit([self.survey(one)])).labels for one in maps]
        return Segmentation(torch.cat(labels), ("evidence",), item)

    def above(self, item: Explanation, threshold: float) -> Segmentation:
        return Segmentation((item.to_input()[:, 0] > threshold).long(), ("evidence",), item)


class FloatLabels(PositiveCells):
    def above(self, item: Explanation, threshold: float) -> Segmentation:
        return Segmentation(item.to_input()[:, 0] - threshold, (), item)


class LabelsOfCells(PositiveCells):
    def above(self, item: Explanation, threshold: float) -> Segmentation:
        return Segmentation((item.values[:, 0] > threshold).long(), (), item)


class FindsNothing(PositiveCells):
    def above(self, item: Explanation, threshold: float) -> Segmentation:
        return super().above(item, float("inf"))


class ThresholdOfEachRegion(PositiveCells):
    def segment(self, item: Explanation | Segmentation, fitted: float | None) -> Segmentation:
        return super().segment(item, None)


class FirstComeFirstServed(PositiveCells):
    def fit(self, surveys: Iterable[tuple[float, int]]) -> float:
        total, count = next(iter(surveys))
        return total / count


class OneThresholdForTheBatch(PositiveCells):
    def segment(self, item: Explanation | Segmentation, fitted: float | None) -> Segmentation:
        assert isinstance(item, Explanation)
        return self.above(item, self.fit([self.survey(item)]))


class ClampsTheMap(PositiveCells):
    def segment(self, item: Explanation | Segmentation, fitted: float | None) -> Segmentation:
        assert isinstance(item, Explanation)
        item.values.clamp_(min=0)
        return super().segment(item, fitted)


class NumbersAsKeys(PositiveCells):
    def findings(self, fitted: float) -> dict[Any, Any]:
        return {1: fitted}


class MarksItsStart(Segmenter):
    """Starts from labels, and changes them."""

    name = "marks_its_start"

    def segment(self, item: Explanation | Segmentation, fitted: None) -> Segmentation:
        assert isinstance(item, Segmentation)
        item.labels[:, 0, 0] = 7
        return item


class PostprocessorCases:
    contract, honest = PostprocessorContract, Halved
    cases = (
        (Shrunk, "test_keeps_grid_shape_and_type"),
        (FillsHoles, "test_holes_stay_holes_and_hold_nothing"),
        (Overwrites, "test_input_is_not_modified"),
        (Noisy, "test_same_call_gives_same_bits"),
        (NormalisedPerCall, "test_batch_equals_maps_one_by_one"),
        (NormalisedPerCall, "test_halo_is_honest"),
        (LiesAboutItsHalo, "test_halo_is_honest"),
    )


class SegmenterCases:
    contract, honest = SegmenterContract, PositiveCells
    cases = (
        (FloatLabels, "test_labels_are_integers_on_every_pixel"),
        (LabelsOfCells, "test_labels_are_integers_on_every_pixel"),
        (FindsNothing, "test_labels_are_not_all_the_same"),
        (ThresholdOfEachRegion, "test_regions_are_labelled_as_the_whole"),
        (FirstComeFirstServed, "test_order_of_regions_does_not_matter"),
        (OneThresholdForTheBatch, "test_batch_equals_images_one_by_one"),
        (ClampsTheMap, "test_input_is_not_modified"),
        (NumbersAsKeys, "test_findings_are_json"),
    )


SUITES = (PostprocessorCases, SegmenterCases)
BROKEN = [(suite.contract, broken, check) for suite in SUITES for broken, check in suite.cases]
HONEST = sorted({(suite.contract, suite.honest, check) for suite in SUITES for _, check in suite.cases}, key=str)


def contract_of(contract: type, method: type, **declared: Any) -> type:
    return type("Contract", (contract,), {"method": method, **declared})


def named(part: Any) -> str:
    return getattr(part, "__name__", str(part))


@pytest.mark.parametrize(("contract", "broken", "check"), BROKEN, ids=named)
def test_broken_method_is_caught(contract: type, broken: type, check: str, run_check: Any) -> None:
    with pytest.raises((AssertionError, BoundaryError)):
        run_check(contract_of(contract, broken), check)


@pytest.mark.parametrize(("contract", "honest", "check"), HONEST, ids=named)
def test_honest_method_passes(contract: type, honest: type, check: str, run_check: Any) -> None:
    run_check(contract_of(contract, honest), check)


def test_labels_that_a_method_starts_from_are_not_modified(run_check: Any) -> None:
    before = (Threshold(by="value", value=0.0),)
    with pytest.raises(AssertionError, match="labels that it started from"):
        run_check(contract_of(SegmenterContract, MarksItsStart, before=before), "test_input_is_not_modified")


@pytest.mark.parametrize("suite", SUITES)
def test_every_check_catches_somebody(suite: type, checks_of: Any) -> None:
    assert {check for _, check in suite.cases} == checks_of(suite.contract) - checks_of(StageContract)
