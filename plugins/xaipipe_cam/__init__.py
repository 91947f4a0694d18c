"""Class activation maps."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_cam.ablationcam import AblationCam
from xaipipe_cam.augmentation_smoothing import AugmentationSmoothing
from xaipipe_cam.cam import Cam
from xaipipe_cam.counterfactual_gradcam import CounterfactualGradCam
from xaipipe_cam.eigencam import EigenCam
from xaipipe_cam.eigengradcam import EigenGradCam
from xaipipe_cam.fullgrad import FullGrad
from xaipipe_cam.gradcam import GradCam
from xaipipe_cam.gradcam_elementwise import GradCamElementwise
from xaipipe_cam.gradcam_pp import GradCamPP
from xaipipe_cam.guided_gradcam import GuidedGradCam
from xaipipe_cam.guided_gradcam_pp import GuidedGradCamPP
from xaipipe_cam.hirescam import HiResCam
from xaipipe_cam.layercam import LayerCam
from xaipipe_cam.scorecam import ScoreCam
from xaipipe_cam.xgradcam import XGradCam


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [
        Cam,
        GradCam,
        GradCamPP,
        CounterfactualGradCam,
        GuidedGradCam,
        GuidedGradCamPP,
        XGradCam,
        HiResCam,
        LayerCam,
        GradCamElementwise,
        ScoreCam,
        AblationCam,
        EigenCam,
        EigenGradCam,
        FullGrad,
        AugmentationSmoothing,
    ]
