"""The base of methods that run a model backwards."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from xaipipe.models.model import Model
from xaipipe.models.targets import Question
from xaipipe.propagation.passes import Pulled, Start, Where, pull_back
from xaipipe.propagation.rules import Rules
from xaipipe.shares import SummedExplainer
from xaipipe.stages import Explainer
from xaipipe.types import Batch, Explanation, Grid


class RuledExplainer(Explainer):
    """A method that is a table of rules. All its questions are answered by one forward pass.

    `rules` says what happens at operators, `start` what begins at the output, and `at_pixels` what is made of what
    arrives. Where that is a sum over the network's cells, the method is a `BackwardExplainer`.
    """

    start: ClassVar[Start] = "gradient"

    @abstractmethod
    def rules(self, batch: Batch, model: Model) -> Rules: ...

    def at_pixels(self, arrived: Tensor, batch: Batch) -> Tensor:
        """The contribution of each pixel, of what arrived there; linear in it."""
        return arrived

    def diagnostics(self, pulled: Pulled) -> Mapping[str, Any]:
        return {}

    def where(self) -> Where:
        return Where()

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return self._contributed(batch, model, (self.params.question,))[0]

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        return self._contributed(batch, model, questions)

    def _contributed(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        every = pull_back(model, batch.pixels, questions, self.rules(batch, model), self.start, self.where())
        return [self._explanation(batch, pulled) for pulled in every]

    def _explanation(self, batch: Batch, pulled: Pulled) -> Explanation:
        return Explanation(
            values=self.at_pixels(pulled.values, batch),
            grid=Grid(),
            targets=pulled.selection.targets,
            scores=pulled.selection.scores.detach(),
            input_size=(int(batch.pixels.shape[2]), int(batch.pixels.shape[3])),
            diagnostics={**pulled.selection.asked, **self.diagnostics(pulled)},
            tiles=batch.tiles,
        )


class BackwardExplainer(SummedExplainer, RuledExplainer):
    """Rules that are linear in what arrives: what cells hand back adds up, so that exact runs on slides can be had.

    What is not linear is done by `summed`, with the sum.
    """

    def contributions(self, batch: Batch, model: Model) -> Explanation:
        return self._contributed(batch, model, (self.params.question,))[0]

    def contributions_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        return self._contributed(batch, model, questions)

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        each = self._contributed(batch, model, questions)
        return [explanation.replace(values=self.summed(explanation.values)) for explanation in each]
