"""Methods whose maps of an image that is looked at in shares equal those of the whole image.

A method says how by its base class. In an exact run each share is a `ShareBatch`, whose model answers for the whole
image and hands gradients to the share's own cells only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from torch import Tensor

from xaipipe.errors import BoundaryError
from xaipipe.models.model import Model
from xaipipe.models.targets import Question
from xaipipe.models.whole import Own, WholeImage
from xaipipe.running.run import Run
from xaipipe.stages import Explainer
from xaipipe.types import Batch, Explanation


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ShareBatch(Batch):
    """Tiles of one size that own the same cells of their maps, and the model as they meet it."""

    model: WholeImage = field(repr=False)
    fitted: Tensor | None = None
    """What a `FittedExplainer` learned from the whole image, or the means of a `ComparingExplainer`, [1, …]."""
    fitted_each: tuple[Tensor, ...] = ()
    """Of several questions: what was learned for each."""
    others: tuple[WholeImage, ...] = ()
    """The model as it meets each of a `ComparingExplainer`'s other images."""
    cells: Own | None = None
    """Of a layer's map: the cells that no other share of the pass has."""


class ExactExplainer(Explainer):
    """A method that can explain an image in shares; the classes below say how."""

    def require_exact(self) -> None:
        """Refuse settings that no exact run can have; called when one is planned."""

    @abstractmethod
    def of_share(self, share: ShareBatch) -> Explanation:
        """What a share adds to the map."""

    @abstractmethod
    def of_share_each(self, share: ShareBatch, questions: Sequence[Question]) -> list[Explanation]:
        """The same for each question."""

    def process(self, item: Batch, run: Run) -> Explanation:
        if not isinstance(item, ShareBatch):
            return super().process(item, run)
        if item.asked is None:
            return self.of_share(item)
        return item.asked.answered(self.name, partial(self.of_share_each, item))


class SummedExplainer(ExactExplainer):
    """Maps on the pixels that are sums over the network's cells: the gradient, and what is linear in it.

    Each share contributes to all the pixels that its cells see, and the contributions add up.
    """

    @abstractmethod
    def contributions(self, batch: Batch, model: Model) -> Explanation:
        """From one forward pass over the pixels as they are; linear in the gradient of the score."""

    def contributions_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        """For each question, the same as `contributions` gives; methods that need one pass for all override this."""
        return [self.asking(question).contributions(batch, model) for question in questions]

    def summed(self, values: Tensor) -> Tensor:
        """What becomes of the sum [N, C, h, w] in the end."""
        return values

    def explain(self, batch: Batch, model: Model) -> Explanation:
        explanation = self.contributions(batch, model)
        return explanation.replace(values=self.summed(explanation.values))

    def of_share(self, share: ShareBatch) -> Explanation:
        return self.contributions(share, share.model)

    def of_share_each(self, share: ShareBatch, questions: Sequence[Question]) -> list[Explanation]:
        return self.contributions_each(share, share.model, questions)


class Other(NamedTuple):
    """An image in place of the one that is explained, and the model that answers for the whole of it."""

    pixels: Tensor
    """[N, C, h, w], as the batch's."""
    model: Model


class ComparingExplainer(SummedExplainer):
    """Contributions that also depend on what the model makes of other images: a reference, points on the way to it.

    A part of another image is made of the same part of the image, and of means over the whole. In an exact run each is
    streamed for the network's poolings as the image itself is, in the same tiles.
    """

    @abstractmethod
    def others(self, batch: Batch, means: Tensor | None) -> Iterator[Tensor]:
        """The other images [N, C, h, w], always as many and in the same order; `means` [N or 1, …] of `survey`."""

    @abstractmethod
    def compared(self, batch: Batch, model: Model, others: Iterable[Other]) -> Explanation:
        """As `contributions`: from a pass over the pixels and one over each of the others, which come one by one.

        Linear in the gradients of the scores; what it says besides is true of a share as of the whole image.
        """

    def compared_each(
        self, batch: Batch, model: Model, others: Iterable[Other], questions: Sequence[Question]
    ) -> list[Explanation]:
        """For each question, the same as `compared` gives; methods that need one pass for all override this."""
        every = list(others)
        return [self.asking(question).compared(batch, model, every) for question in questions]

    def survey(self) -> Callable[[Tensor], Tensor] | None:
        """What sums up pixels [N, C, h, w] to [N, …], where `others` wants their means; None where it wants none."""
        return None

    def means(self, pixels: Tensor) -> Tensor | None:
        """Of whole images: of what is surveyed."""
        survey = self.survey()
        return None if survey is None else survey(pixels) / (pixels.shape[2] * pixels.shape[3])

    def contributions(self, batch: Batch, model: Model) -> Explanation:
        """Of whole images: one model answers for all."""
        others = checked_others(self, batch, self.means(batch.pixels))
        return self.compared(batch, model, (Other(pixels, model) for pixels in others))

    def of_share(self, share: ShareBatch) -> Explanation:
        return self.compared(share, share.model, _others_of(self, share))

    def of_share_each(self, share: ShareBatch, questions: Sequence[Question]) -> list[Explanation]:
        return self.compared_each(share, share.model, _others_of(self, share), questions)


def _others_of(explainer: ComparingExplainer, share: ShareBatch) -> Iterator[Other]:
    pairs = zip(checked_others(explainer, share, share.fitted), share.others, strict=True)
    return (Other(pixels, model) for pixels, model in pairs)


def checked_others(explainer: ComparingExplainer, batch: Batch, means: Tensor | None) -> Iterator[Tensor]:
    """Its other images; one that does not take the place of the pixels is refused."""
    pixels = batch.pixels
    for other in explainer.others(batch, means):
        if (other.shape, other.dtype, other.device) != (pixels.shape, pixels.dtype, pixels.device):
            raise BoundaryError(
                f"explain method '{explainer.name}' compares with an image that is unlike the pixels",
                got=(tuple(other.shape), other.dtype, str(other.device)),
                expected=(tuple(pixels.shape), pixels.dtype, str(pixels.device)),
                where=batch.tiles[0] if batch.tiles else None,
            )
        yield other


class FittedExplainer(ExactExplainer):
    """A layer's maps, each cell by itself, with weights that come from sums over the whole image."""

    @abstractmethod
    def survey(self, batch: Batch, model: Model) -> Tensor:
        """Sums over an image's or a share's cells, [N, …]; those of all shares are added up.

        The gradient is that of the share's part in the score. Of what else a layer holds, `own_cells` are the share's.
        """

    def survey_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Tensor]:
        """For each question, the same as `survey` gives; methods that need one pass for all override this."""
        return [self.asking(question).survey(batch, model) for question in questions]

    @abstractmethod
    def fit(self, sums: Tensor, cells: int) -> Tensor:
        """The weights [N, …], from the sums over a whole image with that many cells."""

    @abstractmethod
    def explain_fitted(self, batch: Batch, model: Model, fitted: Tensor) -> Explanation:
        """The map, with weights [N, …] or [1, …]."""

    def explain_fitted_each(
        self, batch: Batch, model: Model, questions: Sequence[Question], fitted: Sequence[Tensor]
    ) -> list[Explanation]:
        """For each question with its own weights, the same as `explain_fitted` gives; in one pass where overridden."""
        pairs = zip(questions, fitted, strict=True)
        return [self.asking(question).explain_fitted(batch, model, own) for question, own in pairs]

    def of_share(self, share: ShareBatch) -> Explanation:
        assert share.fitted is not None
        return self.explain_fitted(share, share.model, share.fitted)

    def of_share_each(self, share: ShareBatch, questions: Sequence[Question]) -> list[Explanation]:
        return self.explain_fitted_each(share, share.model, questions, share.fitted_each)


class CellwiseExplainer(ExactExplainer):
    """A layer's maps, each cell made of what the layer holds there and of the whole image's gradient there.

    A share owns every cell of the network's poolings that sees one of the cells that it shows, so `explain` says the
    same of these as of the whole image.
    """

    def of_share(self, share: ShareBatch) -> Explanation:
        return self.explain(share, share.model)

    def of_share_each(self, share: ShareBatch, questions: Sequence[Question]) -> list[Explanation]:
        return self.explain_each(share, share.model, questions)


def own_cells(batch: Batch, maps: Tensor) -> Tensor:
    """Of a layer's maps [N, K, h, w] those cells that no other share has; of a whole image all."""
    if not isinstance(batch, ShareBatch) or batch.cells is None:
        return maps
    rows, columns = batch.cells
    return maps[:, :, rows, columns]
