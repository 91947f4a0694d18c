"""Grad-CAM: a layer's maps, weighted by the mean gradient of the target."""

from __future__ import annotations

import torch
from pydantic import Field

from xaipipe import Batch, Explainer, ExplainerParams, Explanation, Layer, Model
from xaipipe_cam.layer_maps import layer_maps


class GradCam(Explainer):
    """Where a layer holds evidence for the target: L = ReLU(Σ_k α_k A^k), α_k the spatial mean of ∂y/∂A^k.

    Misleads when: the gradient varies over the map (a layer far from the end), since its mean then weights cells that
    speak against the target like those that speak for it; and on a coarse layer, whose cells are wider than objects.

    Example: `xaipipe.explain(model, x, method="gradcam", target=281, layer="features.18")`

    Reference: Selvaraju et al.: Grad-CAM, 2017.
    """

    name = "gradcam"

    class Params(ExplainerParams):
        layer: Layer = Field("auto", description="dotted name of a layer with maps; auto: the last one")
        signed: bool = Field(False, description="keep what speaks against the target too (no ReLU)")

    def explain(self, batch: Batch, model: Model) -> Explanation:
        maps = layer_maps(batch, model, self.params.layer, self.params.target)
        weights = maps.gradient.mean(dim=(2, 3), keepdim=True)
        values = (weights * maps.activation).sum(dim=1, keepdim=True)
        return maps.explanation(values if self.params.signed else torch.relu(values))
