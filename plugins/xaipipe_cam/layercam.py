"""LayerCAM: every cell weighted by its own gradient, where that is positive."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from xaipipe_cam.layer_maps import CellExplainer, LayerMaps


class LayerCam(CellExplainer):
    """Where more of what is there would raise the score: ReLU(Σ_k ReLU(g^k) A^k), g the gradient at each cell.

    It keeps fine detail, so that layers far from the end can be shown.

    Misleads when: evidence against the target is looked for, or contributions that sum to anything: cells with a
    negative gradient are left out. In front of a global mean it is Grad-CAM without the weights below zero, so that
    what only they tell apart, such as the dog beside a cat that is asked for, can be brighter than the target.

    Example: `xaipipe.explain(model, x, method="layercam", target=281, layer="layer2")`

    Reference: Jiang, Zhang, Hou, Cheng, Wei: LayerCAM, IEEE TIP 2021.
    """

    name = "layercam"

    class Params(CellExplainer.Params):
        signed: bool = Field(False, description="no ReLU at the end: maps with negative values keep them")

    def values(self, maps: LayerMaps) -> Tensor:
        values = (torch.relu(maps.slope) * maps.activation).sum(dim=1, keepdim=True)
        return values if self.params.signed else torch.relu(values)
