"""DeepLIFT: what each pixel contributes to the difference between an image's score and a reference's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from xaipipe import Batch, ComparingExplainer, ExplainerParams, Explanation, Model, Other
from xaipipe.models.targets import Question
from xaipipe.propagation import (
    Colour,
    Reference,
    References,
    reference_for,
    reference_of_part,
    references_for,
    require_of_parts,
    survey_for,
)
from xaipipe_propagation.compared import RESCALE, REVEAL_CANCEL, Comparison
from xaipipe_propagation.difference import Difference

_PAIRS_AT_ONCE = 16
"""Images with their references that are in memory together, where there are several references."""


class DeepLift(ComparingExplainer):
    """The difference of two scores, f(x) − f(x'), handed back to the pixels in which image and reference differ.

    Every operator hands on Δout / Δin in place of its gradient, so that saturated units still tell what they saw, and
    the values of an image sum to the difference, softmax and maxima included: how far they do not is the `gap` of the
    diagnostics. `rescale` takes one slope for each activation. `reveal_cancel` follows positive and negative
    contributions apart where an activation reads a convolution, a linear layer or a sum, and so shows what cancels.
    The whole difference of a maximum goes to the place that makes the larger one; products of two, as in gates and
    attention, split evenly; norms and their like are taken in their parts. With several references, values and scores
    are means over all of them.

    Misleads when: the reference is an image of something: what both share gets nothing, black on black, say; the
    choice of reference is part of the answer. With layer norms, when the reference is so even that they blow it up from
    next to nothing: contributions are huge then, and cancel. And where a model sorts, masks or chooses by value, which
    is not followed. Of the last two a warning says so.

    Example: `xaipipe.explain(model, x, method="deeplift", target=281, reference="blurred")`

    Reference: Shrikumar, Greenside, Kundaje: Learning Important Features Through Propagating Activation Differences,
    ICML 2017.
    """

    name = "deeplift"

    class Params(ExplainerParams):
        rule: Literal["rescale", "reveal_cancel"] = Field("rescale", description="how activations hand on differences")
        reference: Reference | None = Field(None, description="what is compared with: a name or a colour; unset: zeros")
        references: References | None = Field(
            None, description="many in its place, and the mean over all: colours, or from Python [R, C, H, W]"
        )
        unknown: Literal["refuse", "gradient"] = Field(
            "refuse", description="of operators without a rule: an error, or their gradient, recorded"
        )

        @model_validator(mode="after")
        def _one_of_them(self) -> DeepLift.Params:
            if self.reference is not None and self.references is not None:
                raise ValueError("reference or references, not both")
            return self

    def require_exact(self) -> None:
        if self.params.references is None:
            require_of_parts(self._reference)

    def survey(self) -> Callable[[Tensor], Tensor] | None:
        return survey_for(self._reference) if self.params.references is None else None

    def others(self, batch: Batch, means: Tensor | None) -> Iterator[Tensor]:
        if self.params.references is None:
            yield reference_of_part(self._reference, batch.pixels, means)
            return
        for one in references_for(self.params.references, batch.pixels):
            yield one.expand_as(batch.pixels)

    def compared(self, batch: Batch, model: Model, others: Iterable[Other]) -> Explanation:
        return self.compared_each(batch, model, others, [self.params.question])[0]

    def compared_each(
        self, batch: Batch, model: Model, others: Iterable[Other], questions: Sequence[Question]
    ) -> list[Explanation]:
        found = [Difference(batch) for _ in questions]
        comparison = self._comparison(batch.pixels, model, questions, 1)
        for references, as_met in others:
            for difference, compared in zip(found, comparison.against(references, as_met), strict=True):
                difference.add(compared, references)
        return [difference.of_share(self._said(), comparison.by_gradient) for difference in found]

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return self.explain_each(batch, model, [self.params.question])[0]

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        found = [Difference(batch) for _ in questions]
        comparison: Comparison | None = None
        for references in self._references(batch.pixels):
            times = len(references) // len(batch.pixels)
            if comparison is None or comparison.images != len(references):
                comparison = self._comparison(batch.pixels, model, questions, times)
            for difference, compared in zip(found, comparison.against(references), strict=True):
                difference.add(compared, references)
        assert comparison is not None
        by_gradient = comparison.by_gradient
        return [difference.explanation(self._said(), by_gradient) for difference in found]

    def _said(self) -> dict[str, object]:
        named = self.params.references is None and isinstance(self._reference, str)
        return {"rule": self.params.rule, "reference": self._reference if named else "given"}

    @property
    def _reference(self) -> Tensor | Colour | str:
        return "zeros" if self.params.reference is None else self.params.reference

    def _references(self, pixels: Tensor) -> Iterator[Tensor]:
        """A reference for every image, or several in turn."""
        if self.params.references is None:
            yield reference_for(self._reference, pixels)
            return
        references = references_for(self.params.references, pixels)
        for some in references.split(max(1, _PAIRS_AT_ONCE // len(pixels))):
            yield some.repeat_interleave(len(pixels), dim=0)

    def _comparison(self, pixels: Tensor, model: Model, questions: Sequence[Question], times: int) -> Comparison:
        """Of the images, each as often as references are met at once."""
        every = list(range(len(pixels))) * times
        asked = questions if times == 1 else [question.at(every) for question in questions]
        how = RESCALE if self.params.rule == "rescale" else REVEAL_CANCEL
        return Comparison(model, pixels.repeat(times, 1, 1, 1), asked, how, self.params.unknown == "refuse")
