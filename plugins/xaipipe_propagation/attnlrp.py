"""Layer-wise relevance propagation through attention."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from xaipipe_propagation.lrp import CompositeChoice, Lrp


class AttnLrp(Lrp):
    """The score, handed back through attention weights too, which `lrp` holds as if they were constants.

    A softmax hands on x_i (R_i − s_i Σ_j R_j), its first-order Taylor expansion; what makes a product, of matrices or
    of gates, gets half of it each, by contribution; layer and RMS norms hand relevance through as the linear functions
    that they are once their statistics are held; linear layers follow epsilon, and the patch embedding gamma, by the
    composite `epsilon_gamma`. Any other composite may be chosen, for these layers only.

    Misleads when: the numbers are read as shares of the score: position embeddings, the class token and the constant
    part of every softmax absorb relevance, as biases do (`bias` in the diagnostics), often more than what reaches the
    pixels; and within a patch, where one linear layer has to say which pixel it was.

    Example: `xaipipe.explain(vit, x, method="attnlrp", target=281, gamma=0.5)`

    Reference: Achtibat et al.: AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers, 2024.
    """

    name = "attnlrp"
    gates: ClassVar[bool] = False

    class Params(Lrp.Params):
        composite: CompositeChoice = Field("epsilon_gamma", description="name of a composite, or a table of rules")
