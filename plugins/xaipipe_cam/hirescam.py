"""HiResCAM: every cell weighted by its own gradient."""

from __future__ import annotations

from torch import Tensor

from xaipipe_cam.layer_maps import CellExplainer, LayerMaps


class HiResCam(CellExplainer):
    """What each cell contributes to the target: Σ_k g^k A^k, g the gradient there; signed, and nothing is averaged.

    Where only linear operators follow the layer, the values of an image sum to its score without the biases.

    Misleads when: much of the network follows the layer. Gradients there are noisy, and so is the map.

    Example: `xaipipe.explain(model, x, method="hirescam", target=281)`

    Reference: Draelos, Carin: Use HiResCAM instead of Grad-CAM for faithful explanations, 2020.
    """

    name = "hirescam"

    def values(self, maps: LayerMaps) -> Tensor:
        return (maps.slope * maps.activation).sum(dim=1, keepdim=True)
