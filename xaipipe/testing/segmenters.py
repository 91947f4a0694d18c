"""The contract of segmenters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from torch import Tensor

from xaipipe.running.checks import check_result
from xaipipe.stages import Segmenter
from xaipipe.testing.comparing import assert_same_bits
from xaipipe.testing.maps import blobs, random_map
from xaipipe.testing.params import StageContract
from xaipipe.testing.regions import cut, segment_regions
from xaipipe.types import Explanation, Instance, Segmentation

_WHOLE = 1 << 20


class SegmenterContract(StageContract):
    """Every promise that a segmenter makes."""

    method: ClassVar[type[Segmenter]]
    before: ClassVar[Sequence[Segmenter]] = ()
    """Segmenters that run first, where the method starts from labels."""

    def segmented(self, explanation: Explanation, region: int = _WHOLE, seed: int = 0) -> tuple[Tensor, Any]:
        """The labels of a map segmented in regions, and what the method fitted."""
        labels, fitted = segment_regions((*self.before, self.build()), explanation, region, seed)
        return labels, fitted[-1]

    def plain(self, explanation: Explanation) -> Segmentation:
        """Images that are no slide: nothing is fitted beforehand."""
        item = self._start(explanation)
        stage: Segmenter = self.build()
        result = stage.segment(item, None)
        check_result(stage, item, result)
        return result

    def test_labels_are_integers_on_every_pixel(self) -> None:
        for explanation in (blobs(2), blobs(2, (9, 7)), random_map(2, channels=1)):
            result = self.plain(explanation)
            assert tuple(result.labels.shape) == (2, *explanation.input_size)
            assert int(result.labels.long().min()) >= 0

    def test_labels_are_not_all_the_same(self) -> None:
        labels = self.plain(blobs()).labels.long()
        assert labels.min() < labels.max(), "nothing was found in a map with clear evidence"

    def test_regions_are_labelled_as_the_whole(self) -> None:
        for explanation in (blobs(), random_map(channels=1), blobs(step=1, cells=(60, 44))):
            whole, fitted = self.segmented(explanation)
            for region in (16, 28, 64):
                labels, in_regions = self.segmented(explanation, region)
                assert_same_bits(labels, whole, f"labels in regions of {region} pixels")
                _assert_same_instances(self.build().instances(in_regions), self.build().instances(fitted))

    def test_order_of_regions_does_not_matter(self) -> None:
        explanation = blobs()
        first, fitted = self.segmented(explanation, 16, seed=1)
        second, other = self.segmented(explanation, 16, seed=2)
        assert_same_bits(second, first, "labels")
        _assert_same_instances(self.build().instances(other), self.build().instances(fitted))

    def test_batch_equals_images_one_by_one(self) -> None:
        together = blobs(3)
        labels = self.plain(together).labels
        for i in range(3):
            alone = together.replace(values=together.values[i : i + 1], targets=(1,), scores=together.scores[i : i + 1])
            assert_same_bits(labels[i : i + 1], self.plain(alone).labels, f"image {i}")

    def test_input_is_not_modified(self) -> None:
        explanation = cut(random_map(channels=1), _WHOLE, 0)[0]
        item = self._start(explanation)
        labels = item.labels.clone() if isinstance(item, Segmentation) else None
        stage: Segmenter = self.build()
        stage.segment(item, stage.fit([stage.survey(item)]) if stage.surveys else None)
        assert_same_bits(explanation.values, random_map(channels=1).values)
        assert_same_bits(explanation.valid, random_map(channels=1).valid, "valid cells")
        if isinstance(item, Segmentation):
            assert_same_bits(item.labels, labels, "the labels that it started from")

    def test_findings_are_json(self) -> None:
        _, fitted = self.segmented(blobs(), 16)
        findings = dict(self.build().findings(fitted))
        assert json.loads(json.dumps(findings)) == findings

    def _start(self, explanation: Explanation) -> Explanation | Segmentation:
        item: Explanation | Segmentation = explanation
        for segmenter in self.before:
            item = segmenter.segment(item, None)
        return item


def _assert_same_instances(got: Sequence[Instance], want: Sequence[Instance]) -> None:
    """Places and sizes are whole numbers; means of evidence are sums over regions, whose order is free."""
    assert [_whole_numbers(one) for one in got] == [_whole_numbers(one) for one in want]
    for one, other in zip(got, want, strict=True):
        assert _means(one) == pytest.approx(_means(other), rel=1e-5, abs=1e-6)


def _whole_numbers(one: Instance) -> tuple[int, ...]:
    return one.label, one.y, one.x, one.h, one.w, one.area


def _means(one: Instance) -> tuple[float, ...]:
    return one.centre_y, one.centre_x, one.peak, one.mean
