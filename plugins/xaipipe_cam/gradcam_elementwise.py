"""Elementwise Grad-CAM: the positive part of gradient times activation."""

from __future__ import annotations

import torch
from torch import Tensor

from xaipipe_cam.layer_maps import CellExplainer, LayerMaps


class GradCamElementwise(CellExplainer):
    """What speaks for the target in any channel, cell by cell: Σ_k ReLU(g^k A^k), g the gradient.

    Misleads when: channels cancel. What one says against the target is not set against what another says for it, so
    that busy cells are bright although they contribute nothing, also on objects of other classes that share features
    with the target; compare with `hirescam`.

    Example: `xaipipe.explain(model, x, method="gradcam_elementwise", target=281)`

    Reference: Pillai, Pirsiavash: Explainable Models with Consistent Interpretations, AAAI 2021.
    """

    name = "gradcam_elementwise"

    def values(self, maps: LayerMaps) -> Tensor:
        return torch.relu(maps.slope * maps.activation).sum(dim=1, keepdim=True)
