"""Every method under autocast, in half precision, and behind operators that torch cannot batch over the targets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from tests.cam.networks import PooledNet, drawn
from xaipipe.testing import SmallCnn, images

METHODS = [
    *("cam", "gradcam", "gradcam_pp", "counterfactual_gradcam", "guided_gradcam", "guided_gradcam_pp", "xgradcam"),
    *("hirescam", "layercam", "gradcam_elementwise", "scorecam", "ablationcam", "eigencam", "eigengradcam", "fullgrad"),
    "augmentation_smoothing",
]


class Autocast(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            answer: Tensor = self.net(x)
        return answer.float()


@pytest.mark.parametrize("method", METHODS)
def test_maps_under_autocast_are_those_without_but_for_rounding(method: str) -> None:
    net, x = SmallCnn(), images(2)
    exact = xaipipe.explain(net, x, method, target=1)
    rough = xaipipe.explain(Autocast(net), x, method, target=1)
    assert rough.grid == exact.grid
    difference = float((rough.values.float() - exact.values).norm() / exact.values.norm())
    assert difference < 0.1, f"{difference:.1%}"


class Doubled(torch.autograd.Function):
    """Without a rule for vmap."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Tensor:
        return arriving[0] * 2


class Foreign(PooledNet):
    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(Doubled.apply(self.maps(x)).mean(dim=(2, 3)))
        return answer


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "fullgrad"])
def test_targets_that_cannot_go_back_together_go_one_by_one(method: str) -> None:
    net, x = drawn(Foreign()), images(2, (20, 14)).double()
    passes: list[int] = []
    layer = {} if method == "fullgrad" else {"layer": "maps"}
    together = xaipipe.explain(net, x, method, target=[0, 1, 3], **layer)
    net.head.register_forward_hook(lambda *_: passes.append(1))
    for target, got in zip((0, 1, 3), together, strict=True):
        alone = xaipipe.explain(net, x, method, target=target, **layer)
        torch.testing.assert_close(got.values, alone.values, rtol=1e-12, atol=1e-14)
    one_each, passes[:] = len(passes), []
    xaipipe.explain(net, x, method, target=[0, 1, 3], **layer)
    if method != "fullgrad":
        assert len(passes) == one_each // 3


@pytest.mark.parametrize("layer", ["stem, block", ["block", "stem"]])
def test_maps_of_several_layers_are_fused(layer: object) -> None:
    net, x = SmallCnn().double(), images(2).double()
    got = xaipipe.explain(net, x, "hirescam", target=1, layer=layer)
    alone = [xaipipe.explain(net, x, "hirescam", target=1, layer=name) for name in ("stem", "block")]
    values, grid = xaipipe.fused([one.values for one in alone], [one.grid for one in alone])
    torch.testing.assert_close(got.values, values, rtol=1e-12, atol=1e-14)
    assert got.grid == grid
    assert set(got.diagnostics["layer"].split(", ")) == {"stem", "block"}


def test_cam_of_several_layers_is_refused() -> None:
    with pytest.raises(xaipipe.UsageError, match=r"the maps that are pooled, which is one layer\n  got: stem, block"):
        xaipipe.explain(SmallCnn(), images(1), "cam", target=1, layer="stem, block")
