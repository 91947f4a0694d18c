"""Class activation maps."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_cam.cam import Cam
from xaipipe_cam.counterfactual_gradcam import CounterfactualGradCam
from xaipipe_cam.eigencam import EigenCam
from xaipipe_cam.eigengradcam import EigenGradCam
from xaipipe_cam.gradcam import GradCam
from xaipipe_cam.gradcam_elementwise import GradCamElementwise
from xaipipe_cam.gradcam_pp import GradCamPP
from xaipipe_cam.hirescam import HiResCam
from xaipipe_cam.layercam import LayerCam
from xaipipe_cam.xgradcam import XGradCam


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [
        Cam,
        GradCam,
        GradCamPP,
        CounterfactualGradCam,
        XGradCam,
        HiResCam,
        LayerCam,
        GradCamElementwise,
        EigenCam,
        EigenGradCam,
    ]
