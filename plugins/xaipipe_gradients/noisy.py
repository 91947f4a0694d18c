"""The base of methods that explain many noisy copies of an image, by any other method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor

from xaipipe import Batch, Explanation, Grid, Model, Question
from xaipipe.doubts import OfCopies
from xaipipe.nested import Nested, NestedMethod
from xaipipe_gradients.draws import normal
from xaipipe_gradients.moments import Moments, relative
from xaipipe_gradients.points import Place, PointsExplainer, asked_without_gradient

_KEPT = ("layer", "grid")
"""Of what the method inside says: where its map lies."""


class NoisyExplainer(PointsExplainer):
    """Maps of x + N(0, σ²), by any method, one statistic of them."""

    class Params(PointsExplainer.Params):
        base: NestedMethod = Field("saliency", description="the method inside: its name, or a table of its parameters")
        sigma: float = Field(0.15, ge=0, description="standard deviation of the noise, as a share of an image's range")
        samples: int = Field(32, ge=2, description="noisy copies of each image; each is explained")
        seed: int = Field(0, ge=0, description="of the noise")

        @field_validator("base")
        @classmethod
        def _is_for_any_image(cls, base: Nested) -> Nested:
            for name, value in base.params:
                if isinstance(value, Tensor) and value.ndim == 4 and len(value) > 1:
                    raise ValueError(f"a {name} that is the same for all images: noisy copies make other batches")
            return base

    def __init__(self, params: Any = None, **values: Any) -> None:
        super().__init__(params, **values)
        self._base = self.params.base.build()

    @abstractmethod
    def one(self, values: Tensor) -> Tensor:
        """What is averaged of one map."""

    @abstractmethod
    def finished(self, moments: Moments) -> tuple[Tensor, Tensor]:
        """The map, and its standard error."""

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        samples = self.params.samples
        selections = asked_without_gradient(model, batch.pixels, questions)
        settled = [selection.settled for selection in selections]
        found = [[Moments() for _ in range(len(batch.pixels))] for _ in questions]
        kinds: list[tuple[Grid, dict[str, Any]]] = []
        doubts = OfCopies(batch, several=len(questions) > 1)

        def at(places: list[Place]) -> list[tuple[Place, list[Tensor]]]:
            images = [image for image, _ in places]
            with doubts.made_of(images):
                each = self._base.explain_each(
                    self._noisy(batch, places), model, [question.at(images) for question in settled]
                )
            kinds[:] = kinds or [(one.grid, _kept(one)) for one in each]
            return [(place, [one.values[j] for one in each]) for j, place in enumerate(places)]

        for (image, _), maps in self.work_through(batch, model, samples, ("maps", len(questions)), at):
            for moments, values in zip(found, maps, strict=True):
                moments[image].add(self.one(values.double()))
        doubts.say()
        explanations = []
        for (grid, kept), selection, moments in zip(kinds, selections, found, strict=True):
            values, errors = (torch.stack(parts) for parts in zip(*map(self.finished, moments), strict=True))
            facts = {
                "base": self._base.name,
                "samples": samples,
                "relative_standard_error": relative(errors, values),
                **kept,
            }
            explanation = self.explanation(batch, selection, values, facts, errors)
            explanations.append(replace(explanation, grid=grid))
        return explanations

    def _noisy(self, batch: Batch, places: Sequence[Place]) -> Batch:
        images = [image for image, _ in places]
        pixels = batch.pixels.detach()[images].clone()
        wide = torch.promote_types(pixels.dtype, torch.float32)
        for copy, (image, sample) in zip(pixels, places, strict=True):
            own = copy.to(wide)
            noise = normal(batch, image, self.params.seed, sample, tuple(copy.shape)).to(copy.device, wide)
            copy.copy_(own + self.params.sigma * (own.amax() - own.amin()) * noise)
        tiles = tuple(batch.tiles[image] for image in images) if batch.tiles else ()
        return Batch(tiles=tiles, pixels=pixels, valid=batch.valid[images])


def _kept(explanation: Explanation) -> dict[str, Any]:
    return {name: explanation.diagnostics[name] for name in _KEPT if name in explanation.diagnostics}
