"""Methods whose maps of an image that is looked at in shares equal those of the whole image.

A method says how by its base class. In an exact run each share is a `ShareBatch`, whose model answers for the whole
image and hands gradients to the share's own cells only.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

from torch import Tensor

from xaipipe.models.model import Model
from xaipipe.models.whole import WholeImage
from xaipipe.running.run import Run
from xaipipe.stages import Explainer
from xaipipe.types import Batch, Explanation


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ShareBatch(Batch):
    """Tiles of one size that own the same cells of their maps, and the model as they meet it."""

    model: WholeImage = field(repr=False)
    fitted: Tensor | None = None
    """What a `FittedExplainer` learned from the whole image, [1, …]."""


class SummedExplainer(Explainer):
    """Maps on the pixels that are sums over the network's cells: the gradient, and what is linear in it.

    Each share contributes to all the pixels that its cells see, and the contributions add up.
    """

    @abstractmethod
    def contributions(self, batch: Batch, model: Model) -> Explanation:
        """From one forward pass over the pixels as they are; linear in the gradient of the score."""

    def summed(self, values: Tensor) -> Tensor:
        """What becomes of the sum [N, C, h, w] in the end."""
        return values

    def explain(self, batch: Batch, model: Model) -> Explanation:
        explanation = self.contributions(batch, model)
        return explanation.replace(values=self.summed(explanation.values))

    def process(self, item: Batch, run: Run) -> Explanation:
        if isinstance(item, ShareBatch):
            return self.contributions(item, item.model)
        return super().process(item, run)


class FittedExplainer(Explainer):
    """A layer's maps, each cell by itself, with weights that come from sums over the whole image."""

    @abstractmethod
    def survey(self, batch: Batch, model: Model) -> Tensor:
        """Sums over an image's or a share's cells, [N, …]; those of all shares are added up."""

    @abstractmethod
    def fit(self, sums: Tensor, cells: int) -> Tensor:
        """The weights [N, …], from the sums over a whole image with that many cells."""

    @abstractmethod
    def explain_fitted(self, batch: Batch, model: Model, fitted: Tensor) -> Explanation:
        """The map, with weights [N, …] or [1, …]."""

    def process(self, item: Batch, run: Run) -> Explanation:
        if isinstance(item, ShareBatch):
            assert item.fitted is not None
            return self.explain_fitted(item, item.model, item.fitted)
        return super().process(item, run)
