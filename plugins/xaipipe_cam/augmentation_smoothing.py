"""Test-time smoothing: the mean map of an image, its mirror images, dimmer and brighter, larger and smaller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from xaipipe import Batch, Explainer, ExplainerParams, Explanation, Grid, Model, Question, to_pixels
from xaipipe.nested import NestedMethod

Positive = Annotated[float, Field(gt=0, le=10)]
_FLIPS: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "horizontal": ((), (3,)),
    "vertical": ((), (2,)),
    "both": ((), (3,), (2,), (2, 3)),
}


class AugmentationSmoothing(Explainer):
    """The mean of a method's maps over changed images, each put back where it belongs: less noise, objects filled.

    Maps come to the pixels before they are mirrored back: the cells of a layer do not lie symmetrically on the image.

    Misleads when: a change changes the answer: mirrored text, or brightness that is the evidence. And by looking whole,
    where each single map is not.

    Example: `xaipipe.explain(model, x, method="augmentation_smoothing", base="layercam", flips="both", target=281)`

    Reference: Gildenblat et al.: pytorch-grad-cam, 2021, `aug_smooth`.
    """

    name = "augmentation_smoothing"

    class Params(ExplainerParams):
        base: NestedMethod = Field("gradcam", description="the method inside: its name, or a table of its parameters")
        flips: Literal["none", "horizontal", "vertical", "both"] = Field("horizontal", description="mirror images")
        factors: list[Positive] = Field([0.9, 1.0, 1.1], min_length=1, description="pixels are multiplied by each")
        scales: list[Positive] = Field([1.0], min_length=1, description="the image is resized by each")

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._base = self.params.base.build()

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return self.explain_each(batch, model, [self.params.question])[0]

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        with torch.no_grad():
            selections = model.ask(batch.pixels, questions)
        settled = [selection.settled for selection in selections]
        maps: list[Tensor] = []
        for change in self._changes():
            each = self._base.explain_each(change.batch(batch), model, [change.question(one) for one in settled])
            back = [change.back(one, batch) for one in each]
            maps = [old + new for old, new in zip(maps, back, strict=True)] if maps else back
        count = len(list(self._changes()))
        return [
            replace(
                one,
                values=total / count,
                grid=Grid(),
                targets=selection.targets,
                scores=selection.scores,
                input_size=(int(batch.pixels.shape[2]), int(batch.pixels.shape[3])),
                diagnostics={**_kept(one), "base": self._base.name, "images": count, **selection.asked},
                tiles=batch.tiles,
                standard_error=None,
            )
            for one, total, selection in zip(each, maps, selections, strict=True)
        ]

    def _changes(self) -> Iterator[_Change]:
        params = self.params
        for axes, factor, scale in product(_FLIPS[params.flips], params.factors, params.scales):
            yield _Change(axes, factor, scale)


@dataclass(frozen=True)
class _Change:
    """What is done to the images, and undone to their maps."""

    axes: tuple[int, ...]
    factor: float
    scale: float

    def batch(self, batch: Batch) -> Batch:
        pixels = self._resized(batch.pixels.detach() * self.factor).flip(self.axes)
        valid = torch.ones(len(pixels), *pixels.shape[2:], dtype=torch.bool, device=pixels.device)
        return Batch(tiles=(), pixels=pixels, valid=valid)

    def question(self, question: Question) -> Question:
        """Pixels that are asked for are mirrored too."""
        within = question.within
        if not isinstance(within, Tensor):
            return question
        return replace(question, within=within.flip([axis - 4 for axis in self.axes]))

    def back(self, explanation: Explanation, batch: Batch) -> Tensor:
        """The map on the pixels of the images as they were."""
        size = (int(batch.pixels.shape[2]), int(batch.pixels.shape[3]))
        (sy, sx), (oy, ox) = explanation.grid.scale, explanation.grid.offset
        zy, zx = (new / old for new, old in zip(explanation.input_size, size, strict=True))
        values = explanation.values
        if self.axes:
            values = to_pixels(values, explanation.grid, explanation.input_size).flip(self.axes)
            (sy, sx), (oy, ox) = (1.0, 1.0), (0.0, 0.0)
        return to_pixels(values, Grid((sy / zy, sx / zx), ((oy + 0.5) / zy - 0.5, (ox + 0.5) / zx - 0.5)), size)

    def _resized(self, pixels: Tensor) -> Tensor:
        if self.scale == 1:
            return pixels
        size = [max(round(side * self.scale), 1) for side in pixels.shape[2:]]
        wide = pixels.to(torch.promote_types(pixels.dtype, torch.float32))
        resized = F.interpolate(wide, size, mode="bilinear", align_corners=False, antialias=self.scale < 1)
        return resized.to(pixels.dtype)


def _kept(explanation: Explanation) -> dict[str, Any]:
    return {name: explanation.diagnostics[name] for name in ("layer", "grid") if name in explanation.diagnostics}
