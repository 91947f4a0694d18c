"""`xaipipe.explain`: what it refuses, and how it leaves the model."""

from typing import Any

import pytest
import torch
from torch import nn

import xaipipe
from xaipipe import InputError, UsageError


@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_an_explanation_has_one_map_target_and_score_an_image(
    tiny: nn.Module, images: torch.Tensor, method: str
) -> None:
    found = xaipipe.explain(tiny, images, method=method, target=1)
    assert len(found) == 2
    assert found.targets == (1, 1)
    assert torch.allclose(found.scores, tiny(images)[:, 1])
    assert found.to_input().shape[2:] == images.shape[2:]


def test_the_model_is_left_in_the_mode_it_was_in(tiny: nn.Module, images: torch.Tensor) -> None:
    tiny.train()
    tiny[2].eval()
    xaipipe.explain(tiny, images)
    assert [part.training for part in tiny] == [True, True, False, True, True, True, True]


def test_no_hook_and_no_gradient_stays_behind(tiny: nn.Module, images: torch.Tensor) -> None:
    xaipipe.explain(tiny, images, layer="2")
    assert not any(part._forward_hooks for part in tiny.modules())
    assert all(weight.grad is None for weight in tiny.parameters())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 8, 8), r"not a batch of images\n  got: \(3, 8, 8\)\n  expected: .*\n  next: .* x\[None\]"),
        (torch.zeros(0, 3, 8, 8), r"not a batch of images\n  got: \(0, 3, 8, 8\)"),
        ("cat.png", "not a batch of images\n  got: str"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "not what a model sees\n  got: torch.uint8"),
        (torch.full((1, 3, 8, 8), float("nan")), "holds NaN or infinity\n  got: image 0"),
        (torch.zeros(1, 3, 8, 8, device="meta"), "another device than the model\n  got: meta\n  expected: cpu"),
    ],
)
def test_an_input_that_is_none_is_refused(tiny: nn.Module, x: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        xaipipe.explain(tiny, x)


def test_a_model_that_is_none_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(InputError, match="the model is not a model\n  got: str"):
        xaipipe.explain("resnet50", images)  # type: ignore[arg-type]


def test_an_unknown_method_is_suggested(tiny: nn.Module, images: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="did you mean 'gradcam'"):
        xaipipe.explain(tiny, images, method="grad-cam")


def test_an_unknown_parameter_is_suggested(tiny: nn.Module, images: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="where: explain method 'gradcam'\n  next: did you mean 'target'"):
        xaipipe.explain(tiny, images, tarket=3)


def test_a_model_that_fails_on_its_input_is_worded(tiny: nn.Module) -> None:
    with pytest.raises(InputError, match=r"the model failed on its input\n  got: RuntimeError: .*channels"):
        xaipipe.explain(tiny, torch.zeros(1, 4, 32, 32), method="saliency")
