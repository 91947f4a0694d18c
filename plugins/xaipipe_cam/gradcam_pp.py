"""Grad-CAM++: weights in which every cell with a positive gradient has a say of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from xaipipe_cam.layer_maps import LayerMaps
from xaipipe_cam.weighted_maps import WeightedExplainer


class GradCamPP(WeightedExplainer):
    """Grad-CAM with w_k = Σ_ij α_ij ReLU(g_ij), α_ij = g_ij² / (2 g_ij² + Σ_ab A_ab · g_ij³), g the gradient.

    Several objects of a class count about alike, however large they are. A cell counts ReLU(g) / (2 + Σ A · g), which
    is the same without powers that vanish; where even that has no value it counts nothing.

    Misleads when: maps are negative, as in front of a rectifier: the formula is made for what comes behind one. And
    where something speaks against the target, which it never sees: all weights are positive, so that objects of other
    classes which share features with the target can be brighter than it.

    Example: `xaipipe.explain(model, x, method="gradcam_pp", target=281)`

    Reference: Chattopadhay, Sarkar, Howlader, Balasubramanian: Grad-CAM++, WACV 2018, equation 19.
    """

    name = "gradcam_pp"

    def weights(self, maps: LayerMaps) -> Tensor:
        positive = torch.relu(maps.slope)
        totals = maps.activation.sum(dim=(2, 3), keepdim=True)
        below = 2 + totals * positive
        return torch.where(below == 0, 0, positive / below).sum(dim=(2, 3))
