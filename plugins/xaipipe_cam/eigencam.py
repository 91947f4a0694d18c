"""Eigen-CAM: the strongest pattern in a layer's maps, whatever the target."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from xaipipe_cam.layer_maps import LayerExplainer, LayerMaps
from xaipipe_cam.principal import first_component


class EigenCam(LayerExplainer):
    """What a layer sees most of: its cells' channels, projected on their first principal direction.

    No gradient is needed, and no class: the map is the same for every target.

    Misleads when: it is taken for an explanation of a class; and where background is the strongest pattern.

    Example: `xaipipe.explain(model, x, method="eigencam", layer="layer4")`

    Reference: Muhammad, Yeasin: Eigen-CAM, IJCNN 2020.
    """

    name = "eigencam"
    needs_gradient = False

    class Params(LayerExplainer.Params):
        centred: bool = Field(False, description="subtract each channel's mean first: what varies, not what is there")

    def values(self, maps: LayerMaps) -> Tensor:
        return first_component(maps.activation, self.params.centred)
