"""Grad-CAM: a layer's maps, weighted by the mean gradient of the target."""

from __future__ import annotations

import torch
from pydantic import Field

from xaipipe import Batch, Explanation, Model
from xaipipe_cam.layer_maps import LayerExplainer


class GradCam(LayerExplainer):
    """Where a layer holds evidence for the target: L = ReLU(Σ_k α_k A^k), α_k the spatial mean of ∂y/∂A^k.

    Misleads when: the gradient varies over the map (a layer far from the end), since its mean then weights cells that
    speak against the target like those that speak for it; and on a coarse layer, whose cells are wider than objects.

    Example: `xaipipe.explain(model, x, method="gradcam", target=281, layer="features.18")`

    Reference: Selvaraju et al.: Grad-CAM, 2017.
    """

    name = "gradcam"

    class Params(LayerExplainer.Params):
        signed: bool = Field(False, description="keep what speaks against the target too (no ReLU)")

    def explain(self, batch: Batch, model: Model) -> Explanation:
        maps = self.layer_maps(batch, model)
        weights = maps.gradient.mean(dim=(2, 3), keepdim=True)
        values = (weights * maps.activation).sum(dim=1, keepdim=True)
        return maps.explanation(values if self.params.signed else torch.relu(values))
