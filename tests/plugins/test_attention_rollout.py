"""Attention rollout: the contract, the definition, and which tokens and networks it knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from tests.plugins import slow_vit
from tests.stock import stock
from xaipipe import Model
from xaipipe.errors import UsageError
from xaipipe.models.targets import Question
from xaipipe.propagation import Gradient, gradient_with
from xaipipe.testing import ExplainerContract, SmallCnn, SmallVit, images
from xaipipe_propagation.attention_maps import Noted, asked_noting, attention_of
from xaipipe_propagation.attention_rollout import AttentionRollout


class TestAttentionRollout(ExplainerContract):
    method = AttentionRollout
    network = SmallVit


class TestAttentionRolloutOfChosenWeights(ExplainerContract):
    method = AttentionRollout
    network = SmallVit
    params: ClassVar = {"heads": "max", "discard_ratio": 0.4}


TOGETHER: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda weights: weights.mean(0),
    "min": lambda weights: weights.min(0).values,
    "max": lambda weights: weights.max(0).values,
}


def slow_rollout(net: SmallVit, image: Tensor, heads: str) -> Tensor:
    """[tokens, tokens], by the definition."""
    with torch.no_grad():
        kept = slow_vit.Forward(net, image).kept
    rolled = torch.eye(kept[0]["weights"].shape[-1], dtype=image.dtype)
    for layer in kept:
        mixed = 0.5 * (TOGETHER[heads](layer["weights"]) + torch.eye(len(rolled), dtype=image.dtype))
        rolled = torch.stack([row / row.sum() for row in mixed]) @ rolled
    return rolled


@pytest.mark.parametrize("heads", ["mean", "min", "max"])
@pytest.mark.parametrize("spelling", ["plain", "fused", "module"])
@pytest.mark.parametrize("registers", [0, 2])
def test_the_map_is_the_class_tokens_row(heads: str, spelling: str, registers: int) -> None:
    net, x = SmallVit(spelling, registers=registers, depth=3).double(), images(2, (24, 40)).double()
    got = xaipipe.explain(net, x, method="attention_rollout", heads=heads)
    plain = SmallVit("plain", registers=registers, depth=3).double()
    expected = torch.stack([slow_rollout(plain, image, heads)[0, 1 + registers :].reshape(1, 3, 5) for image in x])
    torch.testing.assert_close(got.values, expected, rtol=1e-10, atol=1e-12)
    assert got.diagnostics["layers"] == 3
    assert got.diagnostics["tokens"] == 1 + registers + 15


@pytest.mark.parametrize("registers", [0, 2])
def test_without_a_class_token_it_is_the_mean_over_patches(registers: int) -> None:
    net, x = SmallVit(class_token=False, registers=registers).double(), images(1, (24, 16)).double()
    got = xaipipe.explain(net, x, method="attention_rollout")
    expected = slow_rollout(net, x[0], "mean")[registers:, registers:].mean(0).reshape(1, 1, 3, 2)
    torch.testing.assert_close(got.values, expected, rtol=1e-10, atol=1e-12)


def _rolled(net: nn.Module, x: Tensor, **params: Any) -> Tensor:
    noted = Noted(Gradient())
    rules = gradient_with({"softmax": noted, "convolution": noted})
    asked = asked_noting(Model.of(net), x, [Question(0)], rules)
    attention = attention_of(noted.seen, asked.selections[0].outputs, len(x), "a test")
    return AttentionRollout(**params).rolled_out(attention).detach()


@pytest.mark.parametrize("heads", ["mean", "min", "max"])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.95])
def test_rows_sum_to_one(heads: str, ratio: float) -> None:
    rolled = _rolled(SmallVit(depth=3).double(), images(2).double(), heads=heads, discard_ratio=ratio)
    assert float(rolled.min()) >= 0
    torch.testing.assert_close(rolled.sum(dim=-1), torch.ones(2, 17, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_what_is_not_on_patches_is_on_the_other_tokens() -> None:
    net, x = SmallVit(registers=1).double(), images(1).double()
    found = xaipipe.explain(net, x, method="attention_rollout")
    rest = slow_rollout(net, x[0], "mean")[0, :2].sum()
    assert found.diagnostics["on_patches"] == pytest.approx([float(1 - rest)])
    assert float(found.values.sum()) == pytest.approx(float(1 - rest))


def test_weak_weights_are_left_out_but_for_those_to_other_tokens() -> None:
    """With nearly all left out only the strongest weight between patches and the class token's column remain."""
    net, x = SmallVit(depth=1).double(), images(1).double()
    found = _rolled(net, x, discard_ratio=1 - 1e-9)[0]
    with torch.no_grad():
        weights = slow_vit.Forward(net, x[0]).kept[0]["weights"].mean(0)
    left = (found - torch.diag(found.diag())).nonzero()[:, 1]
    assert sorted(set(left.tolist())) in ([0], [0, int(weights[:, 1:].argmax()) % 16 + 1])
    full = _rolled(net, x)[0]
    assert float((full - found).abs().max()) > 1e-3


def test_it_is_the_same_for_every_target() -> None:
    net, x = SmallVit(), images(1)
    first, second = xaipipe.explain(net, x, method="attention_rollout", target=[0, 2])
    assert first.values.equal(second.values)
    assert not first.scores.equal(second.scores)


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_cells_lie_where_the_patches_do(size: tuple[int, int]) -> None:
    found = xaipipe.explain(SmallVit(), images(1, size), method="attention_rollout")
    assert found.grid == xaipipe.Grid((8.0, 8.0), (3.5, 3.5))
    assert found.values.shape == (1, 1, size[0] // 8, size[1] // 8)
    assert found.diagnostics["patch_embedding"] == "patches"


class Custom(SmallVit):
    """A network whose blocks are replaced by one attention of one's own."""

    def __init__(self, mix: Callable[[Tensor], Tensor], pool: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__(depth=0)
        self._mix, self._pool = mix, pool

    def forward(self, x: Tensor) -> Tensor:
        maps = self.patches(x)
        tokens = self._mix(maps.flatten(2).transpose(1, 2))
        answer: Tensor = self.head(tokens.mean(dim=1) if self._pool is None else self._pool(tokens))
        return answer


def _itself(tokens: Tensor) -> Tensor:
    return (tokens @ tokens.transpose(1, 2)).softmax(dim=2)


def _two_heads_merged(tokens: Tensor) -> Tensor:
    split = tokens.unflatten(2, (2, 6)).transpose(1, 2).reshape(-1, tokens.shape[1], 6)
    mixed = torch.bmm(torch.softmax(torch.bmm(split, split.transpose(1, 2)), -1), split)
    return mixed.unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)


def test_one_head_and_heads_merged_with_images_are_known() -> None:
    x = images(2).double()
    one = Custom(lambda tokens: _itself(tokens) @ tokens).double()
    rows = _rolled(one, x)
    tokens = one.patches(x).flatten(2).transpose(1, 2).detach()
    torch.testing.assert_close(rows, 0.5 * (_itself(tokens) + torch.eye(16, dtype=torch.float64)))
    split = tokens.unflatten(2, (2, 6)).transpose(1, 2)
    weights = (split @ split.transpose(2, 3)).softmax(-1).mean(1)
    got = _rolled(Custom(_two_heads_merged).double(), x)
    torch.testing.assert_close(got, 0.5 * (weights + torch.eye(16, dtype=torch.float64)))


def test_a_head_that_pools_by_attention_reads_what_it_attends_to() -> None:
    query = torch.randn(1, 1, 12, generator=torch.Generator().manual_seed(3)).double()

    def pool(tokens: Tensor) -> Tensor:
        return ((query @ tokens.transpose(1, 2)).softmax(-1) @ tokens)[:, 0]

    net, x = Custom(lambda tokens: _itself(tokens) @ tokens, pool).double(), images(1).double()
    got = xaipipe.explain(net, x, method="attention_rollout").values
    with torch.no_grad():
        tokens = net.patches(x).flatten(2).transpose(1, 2)
        rolled = 0.5 * (_itself(tokens) + torch.eye(16, dtype=torch.float64))
        taken = (query @ (_itself(tokens) @ tokens).transpose(1, 2)).softmax(-1)
    torch.testing.assert_close(got, (taken @ rolled).reshape(1, 1, 4, 4), rtol=1e-10, atol=1e-12)


def _in_windows(tokens: Tensor) -> Tensor:
    windows = tokens.unflatten(1, (4, 4)).flatten(0, 1)
    mixed = (windows[:, None] @ windows[:, None].transpose(-2, -1)).softmax(-1)[:, 0] @ windows
    return mixed.unflatten(0, (-1, 4)).flatten(1, 2)


def _in_stages(tokens: Tensor) -> Tensor:
    tokens = _itself(tokens) @ tokens
    fewer = tokens.unflatten(1, (4, 4)).mean(dim=2)
    return _itself(fewer) @ fewer


def _to_a_few(tokens: Tensor) -> Tensor:
    tokens = _itself(tokens) @ tokens
    return (tokens[:, :3] @ tokens[:, 3:].transpose(1, 2)).softmax(-1) @ tokens[:, 3:]


@pytest.mark.parametrize("mix", [_in_windows, _in_stages, _to_a_few])
def test_attention_between_some_tokens_only_is_refused(mix: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UsageError, match="not between all patches") as caught:
        xaipipe.explain(Custom(mix), images(1), method="attention_rollout")
    assert "attnlrp" in str(caught.value)


def test_networks_without_attention_are_refused_and_told_of_others() -> None:
    with pytest.raises(UsageError, match="no attention between tokens") as caught:
        xaipipe.explain(SmallCnn(), images(1), method="attention_rollout")
    assert "gradcam" in str(caught.value)


def test_patches_that_no_convolution_makes_are_refused() -> None:
    class Cut(Custom):
        def forward(self, x: Tensor) -> Tensor:
            cut = x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
            answer: Tensor = self.head(self._mix(cut @ self.patches.weight.flatten(1).T).mean(1))
            return answer

    with pytest.raises(UsageError, match="which part of the image each token is"):
        xaipipe.explain(Cut(lambda tokens: _itself(tokens) @ tokens), images(1), method="attention_rollout")


@pytest.mark.parametrize(
    ("name", "size", "tokens", "cells"),
    [
        ("timm:vit_tiny_patch16_224", 224, 197, 14),
        ("timm:deit_tiny_distilled_patch16_224", 224, 198, 14),
        ("timm:vit_little_patch16_reg4_gap_256", 256, 260, 16),
        ("torchvision:vit_b_32", 224, 50, 7),
    ],
)
def test_stock_vision_transformers(name: str, size: int, tokens: int, cells: int) -> None:
    net = stock(name)
    found = xaipipe.explain(net, images(1, (size, size)), method="attention_rollout")
    assert found.diagnostics["tokens"] == tokens
    assert found.values.shape == (1, 1, cells, cells)
    patch = size / cells
    assert found.grid == xaipipe.Grid((patch, patch), ((patch - 1) / 2,) * 2)
    assert 0.2 < found.diagnostics["on_patches"][0] <= 1 + 1e-5


def test_stock_windowed_transformers_are_refused() -> None:
    with pytest.raises(UsageError, match="not between all patches"):
        xaipipe.explain(stock("timm:swin_tiny_patch4_window7_224"), images(1, (224, 224)), method="attention_rollout")
