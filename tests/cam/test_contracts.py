"""The contract of every method."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from xaipipe.testing import ExplainerContract
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

# The maps of the linear model are the image, and its gradient there is the weight.


def mean_weighted(weight: Tensor, x: Tensor, target: int) -> Tensor:
    return (weight[target].mean(dim=(1, 2))[None, :, None, None] * x).sum(dim=1, keepdim=True)


class TestGradCam(ExplainerContract):
    method = GradCam
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return mean_weighted(weight, x, target).clamp(min=0)


class TestGradCamSigned(ExplainerContract):
    method = GradCam
    params: ClassVar = {"signed": True}
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return mean_weighted(weight, x, target)


class TestCounterfactualGradCam(ExplainerContract):
    method = CounterfactualGradCam
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return mean_weighted(-weight, x, target).clamp(min=0)


class TestCam(ExplainerContract):
    method = Cam
    scales_with_score = True

    def test_exact_on_a_linear_model(self) -> None:
        """It has no such head, and is refused: tests of the definition say how."""


class TestGradCamPP(ExplainerContract):
    method = GradCamPP

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        slope = weight[target].clamp(min=0)
        share = slope / (2 + x.sum(dim=(2, 3), keepdim=True) * slope)
        return (share.sum(dim=(2, 3), keepdim=True) * x).sum(dim=1, keepdim=True).clamp(min=0)


class TestXGradCam(ExplainerContract):
    method = XGradCam
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        share = (weight[target] * x).sum(dim=(2, 3), keepdim=True) / x.sum(dim=(2, 3), keepdim=True)
        return (share * x).sum(dim=1, keepdim=True).clamp(min=0)


class TestXGradCamSigned(ExplainerContract):
    method = XGradCam
    params: ClassVar = {"signed": True}
    scales_with_score = True
    conserves = True


class TestHiResCam(ExplainerContract):
    method = HiResCam
    scales_with_score = True
    conserves = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return (weight[target] * x).sum(dim=1, keepdim=True)


class TestLayerCam(ExplainerContract):
    method = LayerCam
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return (weight[target].clamp(min=0) * x).sum(dim=1, keepdim=True).clamp(min=0)


class TestGradCamElementwise(ExplainerContract):
    method = GradCamElementwise
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return (weight[target] * x).clamp(min=0).sum(dim=1, keepdim=True)


class TestEigenCam(ExplainerContract):
    method = EigenCam

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return along_the_first(x)


class TestEigenCamCentred(ExplainerContract):
    method = EigenCam
    params: ClassVar = {"centred": True}


class TestEigenGradCam(ExplainerContract):
    method = EigenGradCam
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return along_the_first(weight[target] * x)


def along_the_first(maps: Tensor) -> Tensor:
    """Cells projected on the largest eigenvector of the channels' second moments."""
    cells = maps.flatten(2)
    vectors = torch.linalg.eigh(cells @ cells.mT).eigenvectors[:, :, -1]
    projected = (vectors[:, :, None] * cells).sum(dim=1)
    sign = (projected * cells.sum(dim=1)).sum(dim=1, keepdim=True).sign()
    return (projected * sign).reshape(len(maps), 1, *maps.shape[2:])


class TestGuidedGradCam(ExplainerContract):
    method = GuidedGradCam

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target] * mean_weighted(weight, x, target).clamp(min=0)


class TestGuidedGradCamPP(ExplainerContract):
    method = GuidedGradCamPP

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target] * TestGradCamPP().expected_on_linear(weight, x, target)


class TestScoreCam(ExplainerContract):
    method = ScoreCam

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return (masked_scores(weight, x, target).softmax(dim=1) * x).sum(dim=1, keepdim=True).clamp(min=0)


class TestScoreCamByIncrease(ExplainerContract):
    method = ScoreCam
    params: ClassVar = {"weighting": "increase", "signed": True, "budget": 4 << 20}
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return (masked_scores(weight, x, target) * x).sum(dim=1, keepdim=True)


class TestAblationCam(ExplainerContract):
    method = AblationCam
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        lost = (weight[target] * x).sum(dim=(2, 3), keepdim=True)
        return (lost * x).sum(dim=1, keepdim=True).clamp(min=0)


class TestFullGrad(ExplainerContract):
    method = FullGrad
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return (weight[target] * x).abs().sum(dim=1, keepdim=True)


class TestFullGradSigned(ExplainerContract):
    method = FullGrad
    params: ClassVar = {"signed": True}
    scales_with_score = True
    conserves = True


class TestAugmentationSmoothing(ExplainerContract):
    method = AugmentationSmoothing
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        """Factors have the mean 1; the weights' mean is the same for the mirror image."""
        return mean_weighted(weight, x, target).clamp(min=0)


class TestAugmentationSmoothingOfAnother(ExplainerContract):
    method = AugmentationSmoothing
    params: ClassVar = {"base": "input_x_gradient", "flips": "both", "factors": [1.0, 0.5]}
    scales_with_score = True


class TestTwoLayers(ExplainerContract):
    """Two layers, one behind the other: the maps of both, fused."""

    method = HiResCam
    params: ClassVar = {"layer": ["stem", "block"]}
    scales_with_score = True

    def test_exact_on_a_linear_model(self) -> None:
        """It has one layer only."""


def masked_scores(weight: Tensor, x: Tensor, target: int) -> Tensor:
    """What the linear model, without its bias, says of the image times each of its channels from 0 to 1."""
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    masks = (x - low) / (high - low)
    return torch.einsum("chw,nchw,nkhw->nk", weight[target], x, masks)[:, :, None, None]
