"""The images of which an exact run knows the poolings: the one that is explained, and those it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
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

    def shared(self, shares: tuple[Share, ...], batch: Batch, fitted: Tensor | None = None) -> ShareBatch:
        model, *others = self.models(shares)
        fitted = self.means if fitted is None else fitted
        return ShareBatch(
            tiles=batch.tiles,
            pixels=batch.pixels,
            valid=batch.valid,
            model=model,
            fitted=fitted,
            others=tuple(others),
            cells=shares[0].shown,
        )

    def said(self, shares: tuple[Share, ...], batch: Batch) -> dict[str, object]:
        """What the model says of the whole of each image, as any share of them tells."""
        explainer = self.run.config.explainer
        model, *others = self.models(shares)
        with torch.no_grad(), named_failures(explainer, batch):
            pixels, *compared = images_of(self.run, batch, self.means)
            chosen = model.score(pixels, explainer.params.question)
            said: dict[str, object] = {"target": model.label(chosen.targets[0]), "score": float(chosen.scores[0])}
            if others:
                pairs = zip(others, compared, strict=True)
                said["compared_with"] = [_score(other, x, chosen.settled) for other, x in pairs]
        return said


def _score(model: WholeImage, pixels: Tensor, question: Question) -> float:
    try:
        return float(model.score(pixels, question).scores[0])
    except NotFiniteError as error:
        raise InputError(
            "the model returned NaN or infinity for an image that the slide is compared with",
            expected="finite scores",
            where=error.facts["where"],
            hint="choose another reference: this one may be constant where the model divides by a spread",
        ) from None
