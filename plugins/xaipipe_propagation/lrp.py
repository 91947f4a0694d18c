"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BeforeValidator, Field

from xaipipe import Batch, Explanation, Model, Question
from xaipipe.errors import UsageError
from xaipipe.propagation import Rules
from xaipipe_propagation.composites import Composite
from xaipipe_propagation.custom import Chosen, CompositeTable, known_composite
from xaipipe_propagation.named import Settings
from xaipipe_propagation.relevance import RelevanceExplainer
from xaipipe_propagation.rules import Bounds
from xaipipe_propagation.rules.bounded import doubt_pixels_beyond


def _parse(value: Any) -> Any:
    if isinstance(value, Mapping):
        return CompositeTable.parse(value, "the composite")
    if not isinstance(value, str | CompositeTable):
        raise ValueError("a composite's name, or a table of rules")
    if isinstance(value, str):
        known_composite(value)
    return value


CompositeChoice = Annotated[str | CompositeTable, BeforeValidator(_parse)]


class Lrp(RelevanceExplainer):
    """The score, handed back layer by layer to those who contributed it: R_i = Σ_j z_ij / Σ_i' z_i'j · R_j.

    How contributions z_ij count is up to the rule of each layer, and which rule that is up to the composite.
    What biases and stabilisers keep is in the diagnostics: it belongs to the score, but to no pixel.

    Misleads when: biases are large, as they are where batch norms were folded: what arrives at the pixels is then a
    small part of the score; with `epsilon` in deep networks, which is as noisy as a gradient; and with `flat` or
    `w_square` in the first layer below the size of its kernels, since these do not look at the pixels.

    Example: `xaipipe.explain(model, x, method="lrp", target=281, composite="epsilon_plus_flat")`

    Reference: Bach et al., PLOS ONE 10(7), 2015; Montavon et al.: Layer-Wise Relevance Propagation: An Overview, 2019.
    """

    name = "lrp"
    gates: ClassVar[bool] = True
    """Whether a product's relevance goes to the signal alone and none to what gates it; else both get half of it."""

    class Params(RelevanceExplainer.Params):
        composite: CompositeChoice = Field("epsilon_plus", description="name of a composite, or a table of rules")
        epsilon: float | None = Field(None, ge=0, description="stabiliser of denominators; unset: 1e-6")
        gamma: float | None = Field(None, ge=0, description="of gamma rules; unset: 0.25")
        alpha: float | None = Field(None, ge=1, description="of alpha-beta rules, beta is alpha - 1; unset: 2")
        low: list[float] | None = Field(None, description="of z_box: lowest value of each channel, or one for all")
        high: list[float] | None = Field(None, description="of z_box: highest value of each channel, or one for all")

    def _contributed(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        explanations = super()._contributed(batch, model, questions)
        if "low" in Chosen.of(self.params.composite).takes():
            doubt_pixels_beyond(self._bounds(batch, model), batch)
        return explanations

    def rules(self, batch: Batch, model: Model) -> Rules:
        chosen = Chosen.of(self.params.composite)
        self._require_settings_used(chosen)
        given = {
            name: value for name in ("epsilon", "gamma", "alpha") if (value := getattr(self.params, name)) is not None
        }
        bounds = self._bounds(batch, model) if "low" in chosen.takes() else None
        return chosen.composite(Settings(**given, bounds=bounds), self.gates)

    def require_used(self, rules: Rules) -> None:
        assert isinstance(rules, Composite)
        rules.require_used()

    def _require_settings_used(self, chosen: Chosen) -> None:
        """A setting that no rule looks at is a mistake, not a matter of taste."""
        for name in ("epsilon", "gamma", "alpha", "low", "high"):
            if getattr(self.params, name) is not None and name not in chosen.takes():
                rules = sorted({rule.rule for rule in chosen.rules()})
                raise UsageError(
                    f"none of the composite's rules takes {name}",
                    got=f"rules {', '.join(rules)}",
                    hint=f"leave out {name}, or choose a composite with such a rule",
                )

    def _bounds(self, batch: Batch, model: Model) -> Bounds:
        """As given; else what the preprocessing can make of a pixel; else each image's own range."""
        low, high = self.params.low, self.params.high
        channels, size = batch.pixels.shape[1], tuple(batch.pixels.shape[2:])
        if low is not None and high is not None:
            bounds = Bounds(_per_channel(low, channels, "low"), _per_channel(high, channels, "high"), size)
            if (bounds.low > bounds.high).any():
                raise UsageError("low lies above high", got=f"low {low}, high {high}", expected="low <= high")
            return bounds
        if low is not None or high is not None:
            raise UsageError(
                "z_box needs both bounds", got="low" if low is not None else "high", expected="low and high"
            )
        if model.preprocess is not None:
            mean, std = (
                torch.tensor(values, dtype=torch.float64) for values in (model.preprocess.mean, model.preprocess.std)
            )
            return Bounds((0 - mean) / std, (1 - mean) / std, size)
        flat = batch.pixels.flatten(2)
        return Bounds(flat.amin(dim=2), flat.amax(dim=2), size)


def _per_channel(values: list[float], channels: int, name: str) -> torch.Tensor:
    if len(values) not in (1, channels):
        raise UsageError(f"{name} does not fit the channels", got=len(values), expected=f"1 or {channels} values")
    return torch.tensor(values * (channels if len(values) == 1 else 1), dtype=torch.float64)
