"""Attention in all its forms is taken apart into what it is: same values, same gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.propagation.everywhere import Everywhere, Of, agrees, mix, numbers, pulled
from xaipipe.propagation import RuleTable, gradient_with

MASK = torch.tensor([[True, True, False, True]] * 3 + [[True, False, True, False]])
BIAS = numbers(4, 4, seed=3)
BLIND = torch.tensor([0, 2])
"""Queries from which everything is hidden."""


def heads(x: Tensor) -> list[Tensor]:
    """[N, heads, tokens, channels] of [N, 4, 4, 4]."""
    return [x, x.flip(1) * 2, x.exp()]


DOT_PRODUCTS: list[Callable[[Tensor], Tensor]] = [
    lambda x: F.scaled_dot_product_attention(*heads(x)),
    lambda x: F.scaled_dot_product_attention(*heads(x), MASK),
    lambda x: F.scaled_dot_product_attention(*heads(x), attn_mask=MASK & (torch.arange(4) != 1)[:, None]),
    lambda x: F.scaled_dot_product_attention(*heads(x), attn_mask=BIAS.clone().index_fill_(0, BLIND, -torch.inf)),
    lambda x: F.scaled_dot_product_attention(*heads(x), attn_mask=BIAS),
    lambda x: F.scaled_dot_product_attention(*heads(x), attn_mask=BIAS.expand(len(x), 4, 4, 4)),
    lambda x: F.scaled_dot_product_attention(*heads(x), is_causal=True),
    lambda x: F.scaled_dot_product_attention(*heads(x), None, 0.0, True, scale=0.3),
    lambda x: F.scaled_dot_product_attention(x[:, :, :2], x, x, is_causal=True),
    lambda x: F.scaled_dot_product_attention(x, x[:, :2], x[:, :2] * 2, enable_gqa=True),
    lambda x: F.scaled_dot_product_attention(query=x, key=x, value=BIAS.expand_as(x)),
    lambda x: F.scaled_dot_product_attention(BIAS.expand_as(x), x, x * 2),
    lambda x: F.scaled_dot_product_attention(x, x, x, x.mean(dim=1, keepdim=True)),
]


@pytest.mark.parametrize("i", range(len(DOT_PRODUCTS)))
def test_scaled_dot_product_attention(i: int) -> None:
    rules = agrees(Of(DOT_PRODUCTS[i]), numbers(2, 4, 4, 4))
    assert "softmax" in rules.kinds
    agrees(Of(DOT_PRODUCTS[i]), numbers(2, 4, 4, 4), gradient_with())


class Attends(nn.Module):
    def __init__(self, call: dict[str, Any], **settings: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.batch_first = settings.get("batch_first", False)
        self.attention = nn.MultiheadAttention(6, 2, **settings)
        for parameter in self.attention.parameters():
            nn.init.normal_(parameter)
        self.call = call
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2) if self.batch_first else x.flatten(2).transpose(0, 1)
        keys = tokens[..., : self.attention.kdim]
        values = tokens[..., : self.attention.vdim] * 2
        out, weights = self.attention(tokens, keys, values, **self.call)
        out = out if self.batch_first else out.transpose(0, 1)
        parts = [out.flatten(1)] if weights is None else [out.flatten(1), weights.flatten(1)]
        return torch.cat(parts, dim=1)


PADDING = torch.tensor([[False, False, True, False], [False, True, False, False]])
CALLS: list[dict[str, Any]] = [
    {},
    {"need_weights": False},
    {"average_attn_weights": False},
    {"key_padding_mask": PADDING},
    {"key_padding_mask": PADDING, "attn_mask": torch.ones(4, 4, dtype=torch.bool).triu(1)},
    {"key_padding_mask": torch.zeros(2, 4).masked_fill(PADDING, -2.0).double(), "attn_mask": BIAS},
    {"attn_mask": BIAS.expand(4, 4, 4), "need_weights": False},
    {"attn_mask": torch.ones(4, 4, dtype=torch.bool).triu(1), "is_causal": True, "need_weights": False},
]
SETTINGS: list[dict[str, Any]] = [{}, {"bias": False}, {"kdim": 4, "vdim": 5}]


@pytest.mark.parametrize("call", range(len(CALLS)))
@pytest.mark.parametrize("settings", range(len(SETTINGS)))
@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention(call: int, settings: int, batch_first: bool) -> None:
    model = Attends(CALLS[call], batch_first=batch_first, **SETTINGS[settings])
    rules = agrees(model, numbers(2, 4, 2, 3))
    assert rules.kinds.count("matmul") == rules.kinds.count("softmax") * 2 > 0


def test_tokens_of_one_image() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 2)
    agrees(Of(lambda x, a: torch.stack([a(t, t, t)[0] for t in x.flatten(2)]), attention), numbers(2, 4, 2, 3))


def test_attention_with_keys_of_its_own_is_unknown_to_rules() -> None:
    """And has its gradient where rules are not strict."""
    model = Attends({}, add_bias_kv=True, add_zero_attn=True, batch_first=True)
    with pytest.raises(Exception, match="no rule for an operator of the model\n  got: multi_head_attention_forward"):
        pulled(model, numbers(2, 4, 2, 3))
    agrees(model, numbers(2, 4, 2, 3), Everywhere(strict=False))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer_encoder_layer(batch_first: bool, norm_first: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(6, 2, 12, batch_first=batch_first, norm_first=norm_first, activation="gelu")
    model = Of(lambda x, layer: layer(x.flatten(2).transpose(0, 1)).transpose(0, 1), layer)
    if batch_first:
        model = Of(lambda x, layer: layer(x.flatten(2)), layer)
    rules = agrees(model, numbers(2, 4, 2, 3))
    assert {"matmul", "softmax", "norm", "linear"} <= set(rules.kinds)


def test_transformer_encoder_and_decoder() -> None:
    torch.manual_seed(0)
    model = nn.Transformer(6, 2, 1, 1, 12, batch_first=True)
    padding = torch.tensor([[False, False, False, True], [False] * 4])
    agrees(Of(lambda x, m: m(x.flatten(2), x.flatten(2) * 2, src_key_padding_mask=padding), model), numbers(2, 4, 2, 3))


def test_attention_runs_whole_where_nobody_looks_at_its_parts() -> None:
    """For one question; torch cannot batch its gradient over several."""
    called: list[str] = []

    class Noted(RuleTable):
        def rule_for(self, op: Any) -> Any:
            called.append(op.kind)
            return None

    x = numbers(1, 4, 4, 4)
    pulled(Of(DOT_PRODUCTS[0]), x, [mix(0)], Noted())
    assert called.count("softmax") == 1  # it was asked for, and nothing was run
    assert "matmul" in called
    called.clear()
    pulled(Of(DOT_PRODUCTS[0]), x, [mix(0), mix(1)], Noted())
    assert called.count("matmul") == 2
