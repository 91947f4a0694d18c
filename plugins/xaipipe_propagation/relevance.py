"""The base of methods that hand a score back as relevance, and what they say about where it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from pydantic import Field

from xaipipe import Batch, ExplainerParams, Explanation, Model
from xaipipe.errors import UsageError
from xaipipe.models.targets import Question
from xaipipe.models.whole import WholeImage
from xaipipe.propagation import BackwardExplainer, Pulled, Rules, Where, pull_back
from xaipipe.propagation.audit import Audit
from xaipipe.propagation.passes import Start
from xaipipe_propagation.conservation import Balance, warn_of_losses
from xaipipe_propagation.layer_grid import on_layer


class RelevanceExplainer(BackwardExplainer):
    """What arrives, and what biases and stabilisers absorbed, sum to what began at the outputs."""

    start: ClassVar[Start] = "relevance"

    class Params(ExplainerParams):
        layer: str | None = Field(None, description="dotted name of the layer whose relevance is wanted; unset: pixels")
        channels: dict[str, list[int]] = Field(
            {}, description="only relevance through these channels: layer names with the channels of their output"
        )

    def where(self) -> Where:
        return Where(self.params.layer, self.params.channels)

    def require_used(self, rules: Rules) -> None:
        """Refuse rules that no layer of the model asked for, after a pass."""

    def require_exact(self) -> None:
        if self.params.layer is not None:
            raise UsageError(
                f"an exact run of '{self.name}' gives the relevance of pixels", got=f"layer = '{self.params.layer}'"
            )

    def _contributed(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        rules = self.rules(batch, model)
        every = self._pulled(batch, model, questions, rules)
        self.require_used(rules)
        if self._is_complete and not isinstance(model, WholeImage):
            for question, pulled in zip(questions, every, strict=True):
                warn_of_losses(self.name, batch, pulled, partial(self._watched, batch, model, question))
        return [self._placed(self._explanation(batch, pulled), batch, model) for pulled in every]

    def _watched(self, batch: Batch, model: Model, question: Question) -> tuple[Pulled, Audit]:
        audit = Audit(self.rules(batch, model))
        return self._pulled(batch, model, [question], audit)[0], audit

    def _pulled(self, batch: Batch, model: Model, questions: Sequence[Question], rules: Rules) -> list[Pulled]:
        return pull_back(model, batch.pixels, questions, rules, self.start, self.where())

    def _placed(self, explanation: Explanation, batch: Batch, model: Model) -> Explanation:
        if self.params.layer is None:
            return explanation
        values, grid = on_layer(explanation.values, model.module, self.params.layer, batch.pixels)
        return explanation.replace(values=values, grid=grid)

    @property
    def _is_complete(self) -> bool:
        """Whether the way back is looked at to its end, and all of it."""
        return self.params.layer is None and not self.params.channels

    def diagnostics(self, pulled: Pulled) -> Mapping[str, Any]:
        layer = {} if self.params.layer is None else {"layer": self.params.layer}
        return {**layer, **Balance.of(pulled).diagnostics(self._is_complete)}
