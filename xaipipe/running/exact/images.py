"""The images of which an exact run knows the poolings: the one that is explained, and those it is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.errors import InputError
from xaipipe.models.model import NotFiniteError
from xaipipe.models.targets import Question
from xaipipe.models.whole import WholeImage
from xaipipe.running.checks import named_failures
from xaipipe.running.exact.network import Network
from xaipipe.running.exact.shares import Share
from xaipipe.running.run import Run
from xaipipe.shares import ComparingExplainer, ShareBatch, checked_others
from xaipipe.types import Batch


def images_of(run: Run, batch: Batch, means: Tensor | None) -> Iterator[Tensor]:
    """The pixels of a batch, and those of the images that the run's method compares them with."""
    yield batch.pixels
    explainer = run.config.explainer
    if isinstance(explainer, ComparingExplainer):
        with named_failures(explainer, batch):
            yield from checked_others(explainer, batch, means)


@dataclass(frozen=True, eq=False)
class Pooled:
    """What all images put into the network's poolings, in the order of `images_of`."""

    run: Run
    network: Network
    sums: list[Tensor]
    """Per image and pooling."""
    means: Tensor | None
    """[1, …], of which the other images are made."""

    def models(self, shares: tuple[Share, ...]) -> list[WholeImage]:
        """The model as shares of one kind meet it, for each image."""
        pools, counts = self.network.pools, self.network.counts
        starts = range(0, len(self.sums), len(pools))
        totals = [self.sums[start : start + len(pools)] for start in starts]
        return [WholeImage.of_share(self.run.model, pools, each, counts, shares[0].own) for each in totals]

    def shared(self, shares: tuple[Share, ...], batch: Batch, fitted: tuple[Tensor, ...] = ()) -> ShareBatch:
        """`fitted` for each question."""
        model, *others = self.models(shares)
        return ShareBatch(
            tiles=batch.tiles,
            pixels=batch.pixels,
            valid=batch.valid,
            model=model,
            fitted=fitted[0] if fitted else self.means,
            fitted_each=fitted,
            others=tuple(others),
            cells=shares[0].shown,
        )

    def said(
        self, shares: tuple[Share, ...], batch: Batch, questions: Sequence[Question]
    ) -> Iterator[dict[str, object]]:
        """For each question, what the model says of the whole of each image, as any share of them tells."""
        model, *others = self.models(shares)
        with torch.no_grad(), named_failures(self.run.config.explainer, batch):
            pixels, *compared = images_of(self.run, batch, self.means)
            every = model.ask(pixels, questions)
            settled = [chosen.settled for chosen in every]
            scores = [_scores(other, x, settled) for other, x in zip(others, compared, strict=True)]
            for number, chosen in enumerate(every):
                said = {"target": model.label(chosen.targets[0]), "score": float(chosen.scores[0])}
                yield {**said, "compared_with": [each[number] for each in scores]} if others else said


def _scores(model: WholeImage, pixels: Tensor, questions: Sequence[Question]) -> list[float]:
    try:
        return [float(chosen.scores[0]) for chosen in model.ask(pixels, questions)]
    except NotFiniteError as error:
        raise InputError(
            "the model returned NaN or infinity for an image that the slide is compared with",
            expected="finite scores",
            where=error.facts["where"],
            hint="choose another reference: this one may be constant where the model divides by a spread",
        ) from None
