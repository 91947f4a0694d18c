"""Connected components that agree across the regions of a slide."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from pydantic import Field
from skimage.measure import label

from xaipipe import Explanation, Instance, Params, Segmentation, Segmenter, UsageError, evidence_at_pixels
from xaipipe_segment.equivalence import FittedComponents, RegionComponents, join_regions, summarise


class Components(Segmenter):
    """Every connected patch of label 1 becomes an object, numbered in raster order over the slide.

    Objects are the same however the slide was divided: those that cross regions are joined. Each has a row in the
    table of instances.

    Misleads when: objects touch: they become one.

    Example: `[[segment]]` with `method = "components"` and `min_area = 30`

    Reference: Rosenfeld, Pfaltz: Sequential operations in digital picture processing, 1966.
    """

    name = "components"

    class Params(Params):
        neighbours: int = Field(8, ge=4, le=8, multiple_of=4, description="4: edges connect; 8: corners too")
        min_area: int = Field(1, ge=1, description="smaller objects are dropped, in pixels of the labels")

    def survey(self, item: Explanation | Segmentation) -> RegionComponents:
        item = _labelled(item)
        tile = item.explanation.tiles[0] if item.explanation.tiles else None
        origin = (tile.y, tile.x) if tile else (0, 0)
        local = self._local(item, 0)
        evidence = evidence_at_pixels(item.explanation)[0][0, 0].cpu().numpy() if local.any() else None
        return summarise(local, origin, evidence)

    def fit(self, surveys: Iterable[RegionComponents]) -> FittedComponents:
        return join_regions(list(surveys), self.params.neighbours, self.params.min_area)

    def findings(self, fitted: FittedComponents) -> dict[str, int]:
        return {"objects": len(fitted.instances)}

    def instances(self, fitted: FittedComponents) -> tuple[Instance, ...]:
        return fitted.instances

    def segment(self, item: Explanation | Segmentation, fitted: FittedComponents | None) -> Segmentation:
        item = _labelled(item)
        if fitted is None:
            return self._segment_images(item)
        tile = item.explanation.tiles[0]
        labels = fitted.relabelled(self._local(item, 0), (tile.y, tile.x))
        return Segmentation(torch.from_numpy(labels)[None], (), item.explanation)

    def _segment_images(self, item: Segmentation) -> Segmentation:
        """Plain images, each a whole of its own."""
        maps, found = [], []
        evidence = evidence_at_pixels(item.explanation)[0].cpu().numpy()
        for image in range(len(item.labels)):
            local = self._local(item, image)
            fitted = self.fit([summarise(local, (0, 0), evidence[image, 0])])
            maps.append(torch.from_numpy(fitted.relabelled(local, (0, 0))))
            found.extend(fitted.instances)
        return Segmentation(torch.stack(maps), (), item.explanation, tuple(found))

    def _local(self, item: Segmentation, image: int) -> np.ndarray:
        mask = item.labels[image].cpu().numpy() > 0
        return label(mask, connectivity=self.params.neighbours // 4).astype(np.int32)


def _labelled(item: Explanation | Segmentation) -> Segmentation:
    if not isinstance(item, Segmentation):
        raise UsageError("components start from labels", got="a map", hint='put method = "threshold" before')
    return item
