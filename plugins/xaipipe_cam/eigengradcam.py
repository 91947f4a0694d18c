"""Eigen-Grad-CAM: the strongest pattern in gradient times activation."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from xaipipe_cam.layer_maps import LayerExplainer, LayerMaps
from xaipipe_cam.principal import first_component


class EigenGradCam(LayerExplainer):
    """Eigen-CAM of a class: the first principal direction of g^k A^k, g the gradient. Less noisy than `hirescam`.

    Misleads when: the evidence has several parts, of which it shows the strongest, be it for the target or against it,
    on this object or another; and by its sign, which a principal
    direction has not: it is made to go with the sum over the channels.

    Example: `xaipipe.explain(model, x, method="eigengradcam", target=281)`

    Reference: Muhammad, Yeasin: Eigen-CAM, IJCNN 2020, on gradient times activation.
    """

    name = "eigengradcam"

    class Params(LayerExplainer.Params):
        centred: bool = Field(False, description="subtract each channel's mean first: what varies, not what is there")

    def values(self, maps: LayerMaps) -> Tensor:
        return first_component(maps.slope * maps.activation, self.params.centred)
