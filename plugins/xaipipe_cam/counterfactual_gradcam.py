"""Counterfactual Grad-CAM: what speaks against the target."""

from __future__ import annotations

from torch import Tensor

from xaipipe_cam.weighted_maps import SlopeSumExplainer


class CounterfactualGradCam(SlopeSumExplainer):
    """What would raise the score if it were gone: ReLU(Σ_k α_k A^k), α_k the spatial mean of −∂y/∂A^k.

    Misleads when: it is taken for evidence for another class. It is what lowers this one, and background that every
    class dislikes is in it too.

    Example: `xaipipe.explain(model, x, method="counterfactual_gradcam", target=["predicted", 281])`

    Reference: Selvaraju et al.: Grad-CAM, 2017, section 3.3.
    """

    name = "counterfactual_gradcam"

    def fit(self, sums: Tensor, cells: int) -> Tensor:
        return sums / -cells
