"""Keep what speaks for the target."""

from __future__ import annotations

from xaipipe import Explanation, Postprocessor


class Relu(Postprocessor):
    """Negative values become 0.

    Misleads when: the evidence against a target is what explains the decision.

    Example: `[[postprocess]]` with `method = "relu"`

    Reference: Selvaraju et al.: Grad-CAM, 2017.
    """

    name = "relu"

    def apply(self, explanation: Explanation) -> Explanation:
        return explanation.replace(values=explanation.values.clamp(min=0))
