"""Grad-CAM: a layer's maps, weighted by the mean gradient of the target."""

from __future__ import annotations

from torch import Tensor

from xaipipe_cam.weighted_maps import SlopeSumExplainer


class GradCam(SlopeSumExplainer):
    """Where a layer holds evidence for the target: L = ReLU(Σ_k α_k A^k), α_k the spatial mean of ∂y/∂A^k.

    Misleads when: the gradient varies over the map (a layer far from the end), since its mean then weights cells that
    speak against the target like those that speak for it; and on a coarse layer, whose cells are wider than objects.

    Example: `xaipipe.explain(model, x, method="gradcam", target=281, layer="features.18")`

    Reference: Selvaraju et al.: Grad-CAM, 2017.
    """

    name = "gradcam"

    def fit(self, sums: Tensor, cells: int) -> Tensor:
        return sums / cells
