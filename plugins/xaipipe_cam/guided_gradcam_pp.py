"""Guided Grad-CAM++: guided backpropagation where Grad-CAM++ is."""

from __future__ import annotations

from xaipipe_cam.gradcam_pp import GradCamPP
from xaipipe_cam.guided_maps import GuidedExplainer


class GuidedGradCamPP(GuidedExplainer):
    """The fine structure that units respond to, where Grad-CAM++ sees the target: the product of both.

    Misleads when: its detail is taken for evidence, as in `guided_gradcam`.

    Example: `xaipipe.explain(model, x, method="guided_gradcam_pp", target=281)`

    Reference: Chattopadhay, Sarkar, Howlader, Balasubramanian: Grad-CAM++, WACV 2018, section 3.4.
    """

    name = "guided_gradcam_pp"
    maps = GradCamPP
