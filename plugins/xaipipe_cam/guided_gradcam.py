"""Guided Grad-CAM: guided backpropagation where Grad-CAM is."""

from __future__ import annotations

from xaipipe_cam.gradcam import GradCam
from xaipipe_cam.guided_maps import GuidedExplainer


class GuidedGradCam(GuidedExplainer):
    """The fine structure that units respond to, where a layer holds evidence for the target: the product of both.

    Misleads when: its detail is taken for evidence. Guided backpropagation draws the edges of whatever is there, also
    with random weights; what tells classes apart is the map alone.

    Example: `xaipipe.explain(model, x, method="guided_gradcam", target=281)`

    Reference: Selvaraju et al.: Grad-CAM, 2017, section 3.2.
    """

    name = "guided_gradcam"
    maps = GradCam
