"""Agreement with other libraries where they mean the same; skipped where they are not installed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

import xaipipe
from tests.stock import stock
from xaipipe.testing import images

TARGETS = [3, 281]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return stock("torchvision:resnet18")


@pytest.fixture(scope="module")
def x() -> Tensor:
    return images(2, (64, 96))


@pytest.fixture
def peer() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("pytorch_grad_cam")


class Louder(nn.Module):
    """Scores so large that an eps which others add to gradients and sums is nothing."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = 1e4 * self.net(x)
        return answer


def raw(peer: Any, method: str, net: nn.Module, layer: nn.Module, x: Tensor, target: int) -> np.ndarray:
    """The map at the layer's resolution, before it is cut, resized and normalised for display."""
    targets = [peer.utils.model_targets.ClassifierOutputTarget(target)] * len(x)
    with getattr(peer, method)(model=net, target_layers=[layer]) as cam:
        cam(input_tensor=x, targets=targets)
        found = cam.activations_and_grads
        maps = [part[0].cpu().numpy() if part else None for part in (found.activations, found.gradients)]
        image: np.ndarray = cam.get_cam_image(x, layer, targets, *maps, False)
    return image


def assert_alike(got: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(got[:, 0].numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("layer", ["layer3", "layer4"])
def test_gradcam_agrees_with_captum(net: nn.Module, x: Tensor, layer: str) -> None:
    captum = pytest.importorskip("captum.attr")
    each = xaipipe.explain(net, x, "gradcam", target=TARGETS, layer=layer)
    for target, got in zip(TARGETS, each, strict=True):
        method = captum.LayerGradCam(net, net.get_submodule(layer))
        expected = method.attribute(x, target=target, relu_attributions=True).detach()
        assert_alike(got.values, expected[:, 0].numpy())


@pytest.mark.parametrize(
    ("method", "theirs"),
    [
        ("gradcam", "GradCAM"),
        ("gradcam_pp", "GradCAMPlusPlus"),
        ("xgradcam", "XGradCAM"),
        ("hirescam", "HiResCAM"),
        ("layercam", "LayerCAM"),
        ("gradcam_elementwise", "GradCAMElementWise"),
    ],
)
def test_agrees_with_pytorch_grad_cam(net: nn.Module, x: Tensor, peer: Any, method: str, theirs: str) -> None:
    signed = {} if method in ("hirescam", "gradcam_elementwise") else {"signed": True}

    loud, layer = Louder(net), net.get_submodule("layer3")
    got = xaipipe.explain(loud, x, method, target=TARGETS[0], layer=layer, **signed).values
    assert_alike(got, raw(peer, theirs, loud, layer, x, TARGETS[0]))


def test_eigencam_agrees_with_pytorch_grad_cam_but_for_the_sign(net: nn.Module, x: Tensor, peer: Any) -> None:
    got = xaipipe.explain(net, x, "eigencam", layer="layer4", centred=True).values[:, 0].numpy()
    expected = raw(peer, "EigenCAM", net, net.get_submodule("layer4"), x, TARGETS[0])
    np.testing.assert_allclose(np.abs(got), np.abs(expected), rtol=0, atol=1e-4 * np.abs(expected).max())
