"""Attention, taken apart into the products and softmaxes that rules know."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xaipipe.propagation.calls import Call
from xaipipe.propagation.operators.described import Decomposed, Describer, Surroundings


def _scaled_dot_product(call: Call, _: Surroundings) -> Decomposed:
    query, key, value = (call.get(i, name) for i, name in enumerate(("query", "key", "value")))
    mask, causal = call.get(3, "attn_mask"), call.get(5, "is_causal", False)
    scale = call.kwargs.get("scale")
    grouped = call.kwargs.get("enable_gqa", False)

    def run() -> Tensor:
        return attended(query, key, value, mask, causal, scale, grouped)

    return Decomposed(run, parts=("matmul", "softmax"))


def attended(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    grouped: bool = False,
) -> Tensor:
    """softmax(q kᵀ · scale + mask) v; in half precision it is computed in float32, as torch's own kernels do."""
    kind = query.dtype
    if kind in (torch.half, torch.bfloat16):
        query, key, value = query.float(), key.float(), value.float()
    if grouped:
        heads = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(heads, -3), value.repeat_interleave(heads, -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    if causal:
        rows, columns = scores.shape[-2:]
        mask = torch.ones(rows, columns, dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    result = _weights(scores, mask is not None) @ value
    return result if result.dtype == kind else result.to(kind)


def _weights(scores: Tensor, masked: bool) -> Tensor:
    """Nothing of queries from which all is hidden, as in torch's own kernels."""
    if not masked:
        return scores.softmax(-1)
    blind = (scores == -math.inf).all(-1, keepdim=True)
    if not bool(blind.any()):
        return scores.softmax(-1)
    return scores.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0)


_NAMES = (
    *("query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias", "bias_k", "bias_v"),
    *("add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias", "training", "key_padding_mask"),
    *("need_weights", "attn_mask", "use_separate_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
    *("static_k", "static_v", "average_attn_weights", "is_causal"),
)


def _multi_head(call: Call, _: Surroundings) -> Decomposed | None:
    given = {**dict(zip(_NAMES, call.args, strict=False)), **call.kwargs}
    if any(given.get(name) is not None for name in ("bias_k", "bias_v", "static_k", "static_v")):
        return None
    return None if given.get("add_zero_attn") else Decomposed(lambda: _heads(given))


def _heads(given: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """As `torch.nn.MultiheadAttention` computes it; tokens come first, images second."""
    query, key, value = given["query"], given["key"], given["value"]
    alone = query.ndim == 2
    if alone:
        query, key, value = (t.unsqueeze(1) for t in (query, key, value))
    q, k, v = (_split(t, given["num_heads"]) for t in _projected(query, key, value, given))
    if given.get("need_weights", True):
        scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)  # [N, heads, tokens, tokens]
        weights = _masked(scores, given).softmax(-1)
        attending = weights @ v
        shown = weights.mean(1) if given.get("average_attn_weights", True) else weights
    else:
        attending, shown = F.scaled_dot_product_attention(q, k, v, _as_bias(q, k, given)), None
    joined = attending.transpose(1, 2).flatten(2)  # [N, tokens, channels]
    out = F.linear(joined, given["out_proj_weight"], given["out_proj_bias"]).transpose(0, 1)
    if alone:
        return out.squeeze(1), None if shown is None else shown.squeeze(0)
    return out, shown


def _as_bias(query: Tensor, key: Tensor, given: dict[str, Any]) -> Tensor | None:
    """The masks as one that is added."""
    if given.get("attn_mask") is None and given.get("key_padding_mask") is None:
        return None
    return _masked(query.new_zeros(*query.shape[:3], key.shape[2]), given)


def _projected(query: Tensor, key: Tensor, value: Tensor, given: dict[str, Any]) -> list[Tensor]:
    """[N, tokens, channels] each."""
    if given.get("use_separate_proj_weight"):
        weights = [given["q_proj_weight"], given["k_proj_weight"], given["v_proj_weight"]]
    else:
        weights = list(given["in_proj_weight"].chunk(3))
    bias = given.get("in_proj_bias")
    biases = [None] * 3 if bias is None else list(bias.chunk(3))
    return [
        F.linear(tokens.transpose(0, 1), weight, part)
        for tokens, weight, part in zip((query, key, value), weights, biases, strict=True)
    ]


def _split(tokens: Tensor, heads: int) -> Tensor:
    return tokens.reshape(*tokens.shape[:-1], heads, -1).transpose(1, 2)


def _masked(scores: Tensor, given: dict[str, Any]) -> Tensor:
    mask, padding = given.get("attn_mask"), given.get("key_padding_mask")
    if mask is not None:
        if mask.ndim == 3:  # [N·heads, tokens, tokens]
            mask = mask.view(scores.shape[0], -1, *mask.shape[1:])
        scores = scores.masked_fill(mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    if padding is not None:
        padding = padding[:, None, None, :]
        scores = scores.masked_fill(padding, -math.inf) if padding.dtype == torch.bool else scores + padding
    return scores


ATTENTION: dict[str, Describer] = {
    "scaled_dot_product_attention": _scaled_dot_product,
    "multi_head_attention_forward": _multi_head,
}
