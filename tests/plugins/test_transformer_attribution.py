"""Transformer attribution: the contract, and the paper's formulas on a small network in plain torch."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from tests.plugins import slow_vit
from tests.stock import stock
from xaipipe.errors import UsageError
from xaipipe.testing import ExplainerContract, SmallCnn, SmallVit, images
from xaipipe_propagation.transformer_attribution import TransformerAttribution


class TestTransformerAttribution(ExplainerContract):
    method = TransformerAttribution
    network = SmallVit
    params: ClassVar = {"epsilon": 1e-2}  # quotients by small numbers are noisy in float32


class TestTransformerAttributionNormalised(ExplainerContract):
    method = TransformerAttribution
    network = SmallVit
    params: ClassVar = {"normalised": True}


def slow_layers(net: SmallVit, image: Tensor, target: int, eps: float) -> list[Tensor]:
    """E_h (∇A ⊙ R)⁺ of every block, by the definition."""
    forward = slow_vit.Forward(net, image)
    forward.answer[target].backward()
    begun = torch.zeros_like(forward.answer).index_fill(0, torch.tensor([target]), 1)
    with torch.no_grad():
        _, relevances = slow_vit.relevance(forward, begun, slow_vit.chefer(eps))
        slopes = [kept["weights"].grad for kept in forward.kept]
        return [(slope * part).clamp(min=0).mean(0) for slope, part in zip(slopes, relevances, strict=True)]


def rolled_out(layers: list[Tensor], normalised: bool) -> Tensor:
    rolled = itself = torch.eye(len(layers[0]), dtype=layers[0].dtype)
    for layer in layers:
        mixed = itself + layer
        rolled = (mixed / mixed.sum(1, keepdim=True) if normalised else mixed) @ rolled
    return rolled


@pytest.mark.parametrize("spelling", ["plain", "fused", "module"])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("eps", [1e-6, 0.05])
def test_the_map_is_that_of_the_papers_formulas(spelling: str, normalised: bool, eps: float) -> None:
    net, x = SmallVit(spelling, registers=1, depth=3).double(), images(2, (24, 16)).double()
    got = xaipipe.explain(net, x, "transformer_attribution", target=2, epsilon=eps, normalised=normalised)
    plain = SmallVit("plain", registers=1, depth=3).double()
    for image, values in zip(x, got.values, strict=True):
        rolled = rolled_out(slow_layers(plain, image, 2, eps), normalised)
        expected = rolled[0, 2:].reshape(1, 3, 2)
        assert float(expected.max()) > 0
        torch.testing.assert_close(values, expected, rtol=1e-7, atol=1e-9 * float(expected.max()))


def test_without_a_class_token_it_is_the_mean_over_patches_less_themselves() -> None:
    net, x = SmallVit(class_token=False, registers=1).double(), images(1, (24, 16)).double()
    got = xaipipe.explain(net, x, method="transformer_attribution", target=1)
    rolled = rolled_out(slow_layers(net, x[0], 1, 1e-6), normalised=False) - torch.eye(7, dtype=torch.float64)
    expected = rolled[1:, 1:].mean(0).reshape(1, 1, 3, 2)
    torch.testing.assert_close(got.values, expected, rtol=1e-7, atol=1e-9 * float(expected.max()))


def test_normalised_rows_sum_to_one() -> None:
    """Where all tokens are patches and read alike, so does the map."""
    net, x = SmallVit(class_token=False).double(), images(2).double()
    found = xaipipe.explain(net, x, method="transformer_attribution", target=0, normalised=True)
    torch.testing.assert_close(found.values.sum(dim=(1, 2, 3)), torch.ones(2, dtype=torch.float64))
    assert float(found.values.min()) >= 0


def test_two_targets_have_two_maps() -> None:
    net, x = SmallVit().double(), images(1).double()
    first, second = xaipipe.explain(net, x, method="transformer_attribution", target=[0, 2])
    scale = float(torch.maximum(first.values, second.values).max())
    assert float((first.values - second.values).abs().max()) > 0.1 * scale


class Attends(nn.Module):
    """Two classes, each read from the class token, which attends to bright and to dark patches by one head each.

    A head's value is how bright or dark a patch is, so that class 0 rests on bright patches and class 1 on dark ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 1, 4, stride=4, bias=False)
        nn.init.constant_(self.patches.weight, 1 / 16)

    def forward(self, x: Tensor) -> Tensor:
        shade = self.patches(x).flatten(2).transpose(1, 2)  # [N, patches, 1]
        shade = torch.cat([torch.zeros(len(x), 1, 1), shade], dim=1)
        values = torch.stack([shade.relu(), (-shade).relu()], dim=1)  # [N, heads, tokens, 1]
        logits = values.transpose(2, 3).expand(-1, -1, shade.shape[1], -1)
        mixed = logits.softmax(-1) @ values
        return mixed[:, :, 0, 0]


def test_what_speaks_for_each_class_is_found() -> None:
    x = torch.zeros(1, 1, 12, 12)
    x[..., 0:4, 0:4], x[..., 8:12, 4:8] = 2.0, -2.0
    bright, dark = (one.values[0, 0] for one in xaipipe.explain(Attends(), x, "transformer_attribution", target=[0, 1]))
    assert int(bright.argmax()) == 0
    assert int(dark.argmax()) == 7
    assert float(bright[2, 1]) < 0.1 * float(bright.max())
    assert float(dark[0, 0]) < 0.1 * float(dark.max())


def test_networks_without_attention_are_refused_and_told_of_others() -> None:
    with pytest.raises(UsageError, match="no attention between tokens") as caught:
        xaipipe.explain(SmallCnn(), images(1), method="transformer_attribution")
    assert "gradcam" in str(caught.value)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:deit_tiny_patch16_224", "torchvision:vit_b_32"])
def test_stock_vision_transformers(name: str) -> None:
    net = stock(name, num_classes=10)
    if library_head := getattr(net, "head", None):
        nn.init.normal_(library_head.weight)  # timm and torchvision begin with heads of zeros
    else:
        nn.init.normal_(net.heads.head.weight)
    first, second = xaipipe.explain(net, images(1, (224, 224)), "transformer_attribution", target=[0, 1])
    assert first.values.shape[2] == first.values.shape[3]
    assert float(first.values.max()) > 0
    assert not torch.allclose(first.values, second.values, rtol=0.01)
