"""AttnLRP: the contract, and relevance by the paper's formulas, operator by operator and from end to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from tests.plugins import slow_vit
from tests.stock import stock
from xaipipe.errors import UsageError
from xaipipe.testing import ExplainerContract, SmallVit, images
from xaipipe_propagation.attnlrp import AttnLrp

FORMS = [
    pytest.param(spelling, class_token, id=f"{spelling}, {'class token' if class_token else 'mean'}")
    for spelling in ("plain", "fused", "module")
    for class_token in (True, False)
]


class TestAttnLrp(ExplainerContract):
    method = AttnLrp
    network = SmallVit
    params: ClassVar = {"epsilon": 1e-2}  # epsilon rules are as noisy in float32 as quotients by small numbers are


class TestAttnLrpOnACnn(ExplainerContract):
    method = AttnLrp
    params: ClassVar = {"epsilon": 1e-2}


@pytest.mark.parametrize(("spelling", "class_token"), FORMS)
@pytest.mark.parametrize("eps", [1e-6, 0.05])
def test_equals_the_papers_formulas(spelling: str, class_token: bool, eps: float) -> None:
    net, x = SmallVit(spelling, class_token, registers=1).double(), images(1, (24, 16)).double()
    got = xaipipe.explain(net, x, method="attnlrp", target=2, epsilon=eps, gamma=0.3)
    with torch.no_grad():
        forward = slow_vit.Forward(SmallVit("plain", class_token, registers=1).double(), x[0])
        begun = torch.tensor([0, 0, 1]) * forward.answer
        expected, _ = slow_vit.relevance(forward, begun, slow_vit.attnlrp(eps, 0.3))
    torch.testing.assert_close(got.scores[0], forward.answer[2])
    torch.testing.assert_close(got.values[0], expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


@pytest.mark.parametrize(("spelling", "class_token"), FORMS)
def test_relevance_and_what_was_absorbed_sum_to_the_score(spelling: str, class_token: bool) -> None:
    """The class token, position embeddings and the constant part of softmaxes count as biases."""
    net, x = SmallVit(spelling, class_token, registers=2).double(), images(3).double()
    found = xaipipe.explain(net, x, method="attnlrp", target=1)
    arrived = found.values.sum(dim=(1, 2, 3))
    absorbed = [torch.tensor(found.diagnostics[name], dtype=torch.float64) for name in ("bias", "stabiliser")]
    assert float(absorbed[0].abs().min()) > 0.1, "there is something to absorb"
    torch.testing.assert_close(arrived + sum(absorbed), found.scores, rtol=1e-6, atol=0)


class Op(nn.Module):
    """One operator between the pixels and an answer: `does` maps [N, 1, 3, 4] to [N, …], whose sum is the score."""

    def __init__(self, does: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.does = does

    def forward(self, x: Tensor) -> Tensor:
        return self.does(x).flatten(1)


def _relevance(does: Callable[[Tensor], Tensor], x: Tensor, **params: object) -> Tensor:
    """What arrives of all outputs' own values; nothing that sums them takes part."""
    everything = xaipipe.explain(Op(does), x, method="attnlrp", target=_total, **params)
    return everything.values[0, 0]


def _total(outputs: Tensor) -> Tensor:
    return outputs.sum(dim=1)


@pytest.fixture
def rows() -> Tensor:
    return images(1, (3, 4), seed=9)[:, :1].double()


def test_softmax_by_its_taylor_expansion(rows: Tensor) -> None:
    got = _relevance(lambda x: x.softmax(dim=-1), rows)
    expected = [slow_vit.softmax_taylor(row, row.softmax(0)) for row in rows[0, 0]]
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-10, atol=1e-12)


def test_a_product_of_matrices_gives_half_to_each(rows: Tensor) -> None:
    got = _relevance(lambda x: x @ x.transpose(-2, -1), rows, epsilon=0.01)
    x = rows[0, 0]
    left, right = slow_vit.matmul_halves(x, x.T, x @ x.T, 0.01)
    torch.testing.assert_close(got, left + right.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gate", [torch.sigmoid, torch.tanh, lambda y: y])
def test_a_gated_product_gives_half_to_each(rows: Tensor, gate: Callable[[Tensor], Tensor]) -> None:
    got = _relevance(lambda x: x[..., :2] * gate(x[..., 2:]), rows)
    x = rows[0, 0]
    product = x[:, :2] * gate(x[:, 2:])
    torch.testing.assert_close(got, torch.cat([product / 2, product / 2], dim=1), rtol=1e-10, atol=1e-12)


def test_layer_norm_with_its_spread_held(rows: Tensor) -> None:
    norm = nn.LayerNorm(4).double()
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(2))
    got = _relevance(norm, rows, epsilon=0.02)
    x = rows[0, 0]
    with torch.no_grad():
        expected = slow_vit.norm_held(x, norm.weight, norm.bias, norm(x), 0.02)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)


def test_rms_norm_hands_relevance_through(rows: Tensor) -> None:
    """Without centring and bias the norm held is a scale for each value."""
    norm = nn.RMSNorm(4).double()
    got = _relevance(norm, rows, epsilon=0)
    torch.testing.assert_close(got, norm(rows[0, 0]).detach(), rtol=1e-10, atol=1e-12)


def test_activations_hand_relevance_through(rows: Tensor) -> None:
    got = _relevance(nn.GELU(), rows)
    torch.testing.assert_close(got, nn.functional.gelu(rows[0, 0]), rtol=1e-10, atol=1e-12)


def test_gates_are_where_it_differs_from_lrp() -> None:
    net, x = SmallVit().double(), images(1).double()
    settings = {"target": 0, "composite": "epsilon_gamma"}
    lrp, attnlrp = (xaipipe.explain(net, x, method=name, **settings).values for name in ("lrp", "attnlrp"))
    assert float((lrp - attnlrp).abs().max()) > 1e-3 * float(attnlrp.abs().max())


def test_the_rule_of_the_patch_embedding_can_be_chosen() -> None:
    net, x = SmallVit().double(), images(1).double()
    table = {"base": "epsilon", "first": "flat"}
    flat = xaipipe.explain(net, x, method="attnlrp", target=0, composite=table).values
    patch = flat[0, :, :8, :8]
    assert float(patch.abs().max()) > 0
    torch.testing.assert_close(patch, patch[0, 0, 0].expand_as(patch))


def test_a_setting_that_nothing_looks_at_is_refused() -> None:
    with pytest.raises(UsageError, match="none of the composite's rules takes gamma"):
        xaipipe.explain(SmallVit(), images(1), method="attnlrp", target=0, composite="epsilon", gamma=0.5)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:deit_tiny_distilled_patch16_224", "torchvision"])
def test_stock_vision_transformers_conserve(name: str) -> None:
    if name == "torchvision":
        vision = pytest.importorskip("torchvision").models.VisionTransformer
        net = vision(image_size=224, patch_size=32, num_layers=3, num_heads=3, hidden_dim=48, mlp_dim=96).eval()
    else:
        net = stock(name)
    heads = [part for part in net.modules() if isinstance(part, nn.Linear) and part.out_features == 1000]
    for head in heads:
        nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(1))  # they begin as zeros
    found = xaipipe.explain(net.double(), images(1, (224, 224)).double(), method="attnlrp", target=7)
    absorbed = found.diagnostics["bias"][0] + found.diagnostics["stabiliser"][0]
    assert float(found.values.sum()) + absorbed == pytest.approx(float(found.scores[0]), rel=1e-6)
    assert float(found.values.abs().max()) > 0
