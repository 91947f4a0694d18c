"""Explanation vectors: the gradient of a smooth stand-in for a black box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from xaipipe import Batch, Explanation, Model, Question
from xaipipe.doubts import doubt, named
from xaipipe.models.targets import Selection
from xaipipe_gradients.draws import normal
from xaipipe_gradients.points import Place, PointsExplainer, asked_without_gradient
from xaipipe_gradients.surrogates import Fitted, gaussian_process, parzen, variance


class ExplanationVectors(PointsExplainer):
    """Which way to change the image so that the target becomes likelier: the gradient of a smooth function fitted to
    what the model, a black box, says of images nearby.

    Nearby images are the image plus smooth noise, and what the model says is its decision (1 for the target, 0 for
    another class), or with `labels = "scores"` its score. The stand-in is a Gaussian process (`surrogate`), or Parzen's
    weighted mean. With `of = "variance"` it is the gradient of the process's variance: the way to where it knows less.

    Misleads when: the model decides alike on all images nearby (`target_share` in the diagnostics is 0 or 1, and there
    is a warning), or nearly so: take another `sigma`; and below the size of the noise's cells, which nobody looked at.

    Example: `xaipipe.explain(model, x, method="explanation_vectors", target=281, sigma=0.1, samples=500)`

    Reference: Baehrens, Schroeter, Harmeling, Kawanabe, Hansen, Müller: How to Explain Individual Classification
    Decisions, JMLR 11, 2010. There it is the gradient of the probability of the other classes, of opposite sign.
    """

    name = "explanation_vectors"

    class Params(PointsExplainer.Params):
        surrogate: Literal["gaussian_process", "parzen"] = Field("gaussian_process", description="what is fitted")
        of: Literal["mean", "variance"] = Field("mean", description="what the gradient is taken of")
        labels: Literal["decisions", "scores"] = Field("decisions", description="what is fitted to")
        samples: int = Field(256, ge=2, le=20000, description="images nearby; each costs a forward pass")
        sigma: float = Field(0.05, gt=0, description="standard deviation of the noise, as a share of an image's range")
        cells: int = Field(14, ge=1, description="of the noise, along each side; drawn there and enlarged to the image")
        length: float = Field(1.0, gt=0, description="of the kernel, as a share of the samples' distance")
        noise: float = Field(0.1, gt=0, description="standard deviation of the labels around the process")
        seed: int = Field(0, ge=0, description="of the images nearby")

        @model_validator(mode="after")
        def _has_a_variance(self) -> ExplanationVectors.Params:
            if self.of == "variance" and self.surrogate == "parzen":
                raise ValueError("surrogate = 'gaussian_process', which has a variance, or of = 'mean'")
            return self

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        selections = asked_without_gradient(model, batch.pixels, questions)
        settled = [selection.settled for selection in selections]
        near = _Nearby(batch, self.params.sigma, self.params.cells, self.params.seed)
        labels = self._labels(batch, model, settled, near)
        return [self._explanation(batch, *parts, near) for parts in zip(selections, labels, strict=True)]

    def _labels(self, batch: Batch, model: Model, questions: Sequence[Question], near: _Nearby) -> Tensor:
        """What the model says of the samples, [questions, N, S] in float64, on the CPU."""

        def at(places: list[Place]) -> list[Tensor]:
            images = [image for image, _ in places]
            asked = asked_without_gradient(model, near.points(places), [one.at(images) for one in questions])
            return list(torch.stack([self._said(selection) for selection in asked], dim=1))

        samples = self.params.samples
        found = list(self.work_through(batch, model, samples, ("labels", len(questions)), at))
        return torch.stack(found, dim=1).reshape(len(questions), len(batch.pixels), samples)

    def _explanation(self, batch: Batch, selection: Selection, labels: Tensor, near: _Nearby) -> Explanation:
        fitted = [self._fitted(near.inner(image, self.params.samples), own) for image, own in enumerate(labels)]
        values = torch.stack([near.mixed(image, one.coefficients) for image, one in enumerate(fitted)])
        facts: dict[str, Any] = {"samples": self.params.samples, "surrogate": [float(one.value) for one in fitted]}
        if self.params.labels == "decisions":
            facts["target_share"] = labels.mean(dim=1).tolist()
        if self.params.of == "mean":
            self._warn_of_one_answer(batch, selection, labels)
        return self.explanation(batch, selection, values, facts)

    def _fitted(self, inner: Tensor, labels: Tensor) -> Fitted:
        length = self.params.length * inner.diagonal().mean().sqrt()
        if not length:  # an image of one colour, whose range is nothing: all samples are the image itself
            return Fitted(labels.mean(), torch.zeros_like(labels))
        if self.params.of == "variance":
            return variance(inner, length, self.params.noise)
        if self.params.surrogate == "parzen":
            return parzen(inner, labels, length)
        return gaussian_process(inner, labels, length, self.params.noise)

    def _warn_of_one_answer(self, batch: Batch, selection: Selection, labels: Tensor) -> None:
        def text(image: int) -> str:
            if not bool((batch.pixels[image] != batch.pixels[image].flatten()[0]).any()):
                return (
                    f"{self.name}: all pixels of {named(batch, image)} are the same, and noise is a share of their "
                    f"range, so that nothing nearby was looked at and its map is zero"
                )
            same = float(self._said(selection)[image]) == float(labels[image, 0])
            return (
                f"{self.name}: the model says the same of all samples near {named(batch, image)}, target "
                f"{selection.targets[image]}, so that its map is zero; take a sigma "
                f"{'larger' if same else 'smaller'} than {self.params.sigma:g}"
            )

        excess = (labels.amin(dim=1) == labels.amax(dim=1)).double().tolist()
        doubt(f"{self.name}: one answer", batch, excess, text, selection.targets)

    def _said(self, selection: Selection) -> Tensor:
        """What the model says of each image, as a label."""
        return (_scores if self.params.labels == "scores" else _decisions)(selection).double().cpu()


class _Nearby:
    """Images near those of a batch. Displacements are A z Bᵀ, of a few cells z, and never held all at once."""

    def __init__(self, batch: Batch, sigma: float, cells: int, seed: int) -> None:
        self._batch, self._seed = batch, seed
        self._pixels = batch.pixels.detach()
        wide = self._pixels.flatten(1).double()
        self._sigma = (sigma * (wide.amax(dim=1) - wide.amin(dim=1))).tolist()
        channels, height, width = self._pixels.shape[1:]
        self._cells = (channels, min(cells, height), min(cells, width))
        self._rows, self._columns = _enlarging(self._cells[1], height), _enlarging(self._cells[2], width)

    def points(self, places: Sequence[Place]) -> Tensor:
        shifts = torch.stack([self._enlarged(self._drawn(*place)) for place in places])
        images = self._pixels[[image for image, _ in places]]
        return (images.double() + shifts.to(images.device)).to(images.dtype)

    def inner(self, image: int, samples: int) -> Tensor:
        """The products of all displacements, [S, S], from the cells alone."""
        cells = self._all(image, samples)
        rows, columns = self._rows.T @ self._rows, self._columns.T @ self._columns
        return cells.flatten(1) @ (rows @ cells @ columns).flatten(1).T

    def mixed(self, image: int, coefficients: Tensor) -> Tensor:
        """The sum of the displacements, each times a number; [C, H, W]."""
        cells = torch.tensordot(coefficients, self._all(image, len(coefficients)), dims=1)
        return self._enlarged(cells).to(self._pixels.device)

    def _all(self, image: int, samples: int) -> Tensor:
        return torch.stack([self._drawn(image, sample) for sample in range(samples)])

    def _drawn(self, image: int, sample: int) -> Tensor:
        return self._sigma[image] * normal(self._batch, image, self._seed, sample, self._cells).double()

    def _enlarged(self, cells: Tensor) -> Tensor:
        return self._rows @ cells @ self._columns.T


def _enlarging(cells: int, pixels: int) -> Tensor:
    """The matrix [pixels, cells] of linear interpolation between the cells' centres."""
    unit = torch.eye(cells, dtype=torch.float64)[None]
    return F.interpolate(unit, size=pixels, mode="linear", align_corners=False)[0].T.contiguous()


def _scores(selection: Selection) -> Tensor:
    return selection.scores


def _decisions(selection: Selection) -> Tensor:
    """1 where the model decides for the target; of what is no class, its score."""
    outputs = selection.outputs
    if outputs.ndim > 2 or not all(isinstance(target, int) for target in selection.targets):
        return selection.scores
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        return (outputs.reshape(-1) > 0).double()
    return (outputs.argmax(dim=1).cpu() == torch.tensor(selection.targets)).double()
