"""Grad-CAM: a layer's maps, weighted by the mean gradient of the target."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from xaipipe import Batch, Explanation, FittedExplainer, Model
from xaipipe_cam.layer_maps import LayerExplainer, LayerMaps


class GradCam(LayerExplainer, FittedExplainer):
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
        return self._weighted(maps, self.fit(_sums(maps), maps.cells))

    def survey(self, batch: Batch, model: Model) -> Tensor:
        return _sums(self.layer_maps(batch, model))

    def fit(self, sums: Tensor, cells: int) -> Tensor:
        return sums / cells

    def explain_fitted(self, batch: Batch, model: Model, fitted: Tensor) -> Explanation:
        return self._weighted(self.layer_maps(batch, model, gradient=False), fitted)

    def _weighted(self, maps: LayerMaps, weights: Tensor) -> Explanation:
        values = (weights[:, :, None, None] * maps.activation).sum(dim=1, keepdim=True)
        return maps.explanation(values if self.params.signed else torch.relu(values))


def _sums(maps: LayerMaps) -> Tensor:
    """Σ_ij ∂y/∂A_ij^k, [N, K]."""
    return maps.gradient.sum(dim=(2, 3))
