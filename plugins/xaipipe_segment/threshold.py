"""Pixels whose evidence exceeds a threshold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field, model_validator

from xaipipe import Explanation, Histogram, Params, Segmentation, Segmenter, UsageError, evidence_at_pixels


class Threshold(Segmenter):
    """Label 1 where the map, interpolated to the pixels, exceeds the slide's threshold.

    Misleads when: `otsu` or `percentile` is asked of a slide without any evidence: they always find some.

    Example: `[[segment]]` with `method = "threshold"`, `by = "percentile"`, `percentile = 99.0`

    Reference: Otsu: A threshold selection method from gray-level histograms, 1979.
    """

    name = "threshold"

    class Params(Params):
        by: Literal["otsu", "percentile", "value"] = Field("otsu", description="how the threshold is found")
        value: float | None = Field(None, description="the threshold itself, in the map's own units")
        percentile: float = Field(99.0, ge=0, le=100, description="share of the slide's cells that lie below")
        of: Literal["all", "positive"] = Field(
            "all", description="the cells that otsu and percentile look at; positive: leave out what a ReLU made 0"
        )

        @model_validator(mode="after")
        def _nothing_is_ignored(self) -> Threshold.Params:
            if self.by == "value" and self.value is None:
                raise ValueError('by = "value" needs value = …')
            for name in {"value", "percentile"} & self.model_fields_set - {self.by}:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is given, but by = {self.by!r} does not look at it: set by = {name!r}")
            return self

    def survey(self, item: Explanation | Segmentation) -> Histogram:
        item = _one_map(item)
        own = (
            item.grid.cells_within(0, 0, item.input_size[0], item.values.shape[2]),
            item.grid.cells_within(1, 0, item.input_size[1], item.values.shape[3]),
        )
        values = item.values[(slice(None), 0, *own)]
        if item.valid is not None:
            values = values[item.valid[(slice(None), *own)]]
        if self.params.of == "positive":
            values = values[values > 0]
        return Histogram.of(values.detach().cpu().numpy())

    def fit(self, surveys: Iterable[Histogram]) -> float:
        histogram = Histogram.merged(surveys)
        if self.params.by == "value":
            return float(self.params.value)
        return histogram.otsu() if self.params.by == "otsu" else histogram.percentile(self.params.percentile)

    def findings(self, fitted: float) -> dict[str, float]:
        return {"threshold": fitted}

    def segment(self, item: Explanation | Segmentation, fitted: float | None) -> Segmentation:
        item = _one_map(item)
        if fitted is None and len(item) > 1:  # images that are no slide: each is a whole of its own
            labels = [self.segment(_image(item, i), None).labels for i in range(len(item))]
            return Segmentation(torch.cat(labels), ("evidence",), item)
        threshold = self.fit([self.survey(item)]) if fitted is None else fitted
        if not (item.values > threshold).any():  # interpolation exceeds no cell: most of a slide ends here
            labels = torch.zeros(len(item), *item.input_size, dtype=torch.int32, device=item.values.device)
            return Segmentation(labels, ("evidence",), item)
        values, known = evidence_at_pixels(item)
        labels = (values[:, 0] > threshold) & known
        return Segmentation(labels.to(torch.int32), ("evidence",), item)


def _image(item: Explanation, index: int) -> Explanation:
    one = slice(index, index + 1)
    return item.replace(
        values=item.values[one],
        valid=None if item.valid is None else item.valid[one],
        targets=item.targets[one],
        scores=item.scores[one],
        tiles=item.tiles[one],
    )


def _one_map(item: Explanation | Segmentation) -> Explanation:
    if isinstance(item, Segmentation):
        raise UsageError("threshold starts from a map", got="labels", hint="put it before other segmenters")
    if item.values.shape[1] != 1:
        raise UsageError(
            "threshold wants one map an image",
            got=f"{item.values.shape[1]} channels",
            hint="for saliency set [explain] magnitude = true",
        )
    return item
