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


@pytest.mark.parametrize("method", ["gradcam", "saliency"])
@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_targets_gives_a_list_in_its_order(
    tiny: nn.Module, images: torch.Tensor, method: str, kind: Any
) -> None:
    tiny.labels = ["cat", "dog", "bird"]
    targets = [2, "cat", "predicted", "norm"]
    found = xaipipe.explain(tiny, images, method, target=kind(targets), score="logit")
    assert [one.targets for one in found] == [(2, 2), (0, 0), tuple(tiny(images).argmax(dim=1).tolist()), ("norm",) * 2]
    for target, one in zip(targets, found, strict=True):
        assert torch.allclose(one.values, xaipipe.explain(tiny, images, method, target=target).values)


def test_a_list_of_one_target_gives_a_list(tiny: nn.Module, images: torch.Tensor) -> None:
    found = xaipipe.explain(tiny, images, "saliency", target=[1])
    assert isinstance(found, list)
    assert [one.targets for one in found] == [(1, 1)]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([], "there is no target in the list"),
        ([1, 7], "target out of range\n  got: 7"),
        ([1, "brid"], "unknown target 'brid'"),
        ([1, [2, 0]], r"parameter 'target' has a value that it cannot take\n  got: \[2, 0\]\n  expected: one target"),
        ([1, None], "a class index, a label, 'predicted', 'norm', or a callable"),
    ],
)
def test_a_list_of_targets_that_is_off_is_refused(
    tiny: nn.Module, images: torch.Tensor, targets: list[Any], message: str
) -> None:
    tiny.labels = ["cat", "dog", "bird"]
    with pytest.raises(UsageError, match=message):
        xaipipe.explain(tiny, images, "saliency", target=targets)


def test_what_was_asked_is_recorded(tiny: nn.Module, images: torch.Tensor) -> None:
    logit = xaipipe.explain(tiny, images, "saliency", target=1)
    probability = xaipipe.explain(tiny, images, target=1, score="probability")
    assert logit.diagnostics == {"score": "logit"}
    assert probability.diagnostics["score"] == "probability"
    assert torch.allclose(probability.scores, tiny(images).softmax(dim=1)[:, 1])


def test_a_segmentation_is_explained_within_a_mask(tiny: nn.Module, images: torch.Tensor) -> None:
    """Only what the mask's cells see has a gradient: 7 pixels for two convolutions of stride 2."""
    net, mask = tiny[:3], torch.zeros(8, 8, dtype=torch.bool)
    mask[4, 4] = True
    found = xaipipe.explain(net, images, "saliency", target=3, within=mask)
    assert torch.allclose(found.scores, net(images)[:, 3, 4, 4])
    assert found.diagnostics == {"score": "logit", "within": "mask", "within_pixels": [1, 1]}
    seen = found.values.abs().sum(dim=(0, 1)).nonzero()
    assert (seen.amin(dim=0) >= 13).all()
    assert (seen.amax(dim=0) <= 19).all()
    whole = xaipipe.explain(net, images, "saliency", target=3, within="everywhere")
    assert torch.allclose(whole.scores, net(images)[:, 3].mean(dim=(1, 2)))


def test_an_embedding_is_explained_by_its_likeness_to_another(tiny: nn.Module, images: torch.Tensor) -> None:
    first, second = images[:1], images[1:]
    reference = tiny(second)[0]
    found = xaipipe.explain(tiny, first, "saliency", target=xaipipe.Similarity(reference))
    x = first.clone().requires_grad_()
    (expected,) = torch.autograd.grad(torch.cosine_similarity(tiny(x)[0], reference, dim=0), x)
    assert torch.allclose(found.values, expected)
    assert (found.targets, found.diagnostics) == (("similarity",), {"score": "similarity"})


def test_a_single_output_is_explained(tiny: nn.Module, images: torch.Tensor) -> None:
    net = nn.Sequential(*tiny[:6], nn.Linear(8, 1), nn.Flatten(0))
    found = xaipipe.explain(net, images)
    assert found.targets == (0, 0)
    assert torch.allclose(found.scores, net(images))


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
        (
            [torch.zeros(3, 8, 8), torch.zeros(3, 8, 9), torch.zeros(3, 8, 8)],
            r"of several sizes\n  got: list of 3: \(3, 8, 8\), \(3, 8, 9\)\n  expected: .*\n  next: explain each size",
        ),
        (
            (torch.zeros(3, 8, 8),) * 2,
            r"one by one\n  got: tuple of 2: \(3, 8, 8\)\n  expected: .*\n  next: torch.stack",
        ),
        ([], "one by one\n  got: list of 0"),
        ([torch.zeros(3, 8, 8), "cat.png"], r"several sizes\n  got: list of 2: \(3, 8, 8\), str"),
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
