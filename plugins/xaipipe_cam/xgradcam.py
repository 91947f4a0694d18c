"""XGrad-CAM: the gradient's mean, weighted by the activation."""

from __future__ import annotations

import torch
from torch import Tensor

from xaipipe import own_cells
from xaipipe_cam.layer_maps import LayerMaps
from xaipipe_cam.weighted_maps import SummedWeightsExplainer


class XGradCam(SummedWeightsExplainer):
    """Grad-CAM with w_k = Σ_ij A_ij g_ij / Σ_ij A_ij: cells count as much as the map holds there.

    Signed, the values of an image sum to Σ A · ∂y/∂A, which behind the last bias is the whole score.

    Misleads when: a map sums to nearly nothing because its values cancel, as in front of a rectifier: its weight is
    then huge, and has no meaning.

    Example: `xaipipe.explain(model, x, method="xgradcam", target=281)`

    Reference: Fu, Hu, Dong, Guo, Gao, Li: Axiom-based Grad-CAM, BMVC 2020.
    """

    name = "xgradcam"

    def sums(self, maps: LayerMaps) -> Tensor:
        """[N, 2, K]: of activation times gradient, and of the activation."""
        products = (maps.activation * maps.slope).sum(dim=(2, 3))
        return torch.stack([products, own_cells(maps.batch, maps.activation).sum(dim=(2, 3))], dim=1)

    def fit(self, sums: Tensor, cells: int) -> Tensor:
        products, totals = sums.unbind(dim=1)
        return torch.where(totals == 0, 0, products / totals)
