"""XGrad-CAM: the gradient's mean, weighted by the activation."""

from __future__ import annotations

import torch
from torch import Tensor

from xaipipe_cam.layer_maps import LayerMaps
from xaipipe_cam.weighted_maps import WeightedExplainer


class XGradCam(WeightedExplainer):
    """Grad-CAM with w_k = Σ_ij A_ij g_ij / Σ_ij A_ij: cells count as much as the map holds there.

    Signed, the values of an image sum to Σ A · ∂y/∂A, which behind the last bias is the whole score.

    Misleads when: a map sums to nearly nothing because its values cancel, as in front of a rectifier: its weight is
    then huge, and has no meaning.

    Example: `xaipipe.explain(model, x, method="xgradcam", target=281)`

    Reference: Fu, Hu, Dong, Guo, Gao, Li: Axiom-based Grad-CAM, BMVC 2020.
    """

    name = "xgradcam"

    def weights(self, maps: LayerMaps) -> Tensor:
        totals = maps.activation.sum(dim=(2, 3))
        products = (maps.activation * maps.slope).sum(dim=(2, 3))
        return torch.where(totals == 0, 0, products / totals)
