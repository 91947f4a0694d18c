"""Relevance through a `SmallVit` by the papers' formulas, written out for one image in float64, with nothing shared."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xaipipe.testing import SmallVit

HEADS, PATCH = 2, 8


def stabilised(z: Tensor, eps: float) -> Tensor:
    return z + eps * torch.where(z >= 0, 1.0, -1.0).to(z)


def linear_epsilon(x: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor, eps: float) -> Tensor:
    """R_i = Σ_j x_i W_ji R_j / (z_j + ε sign z_j), of each token."""
    z = stabilised(x @ weight.T + bias, eps)
    return torch.stack([(x[t][None] * weight * (relevance[t] / z[t])[:, None]).sum(0) for t in range(len(x))])


def linear_gamma(x: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor, eps: float, gamma: float) -> Tensor:
    """Contributions of the output's own sign count 1 + γ times, the bias's too."""
    rows = []
    for t in range(len(x)):
        z = x[t] @ weight.T + bias
        sign = torch.where(z >= 0, 1.0, -1.0).to(z)
        each, own = x[t][None] * weight, bias.clone()
        each = each + gamma * (each * sign[:, None]).clamp(min=0) * sign[:, None]
        own = own + gamma * (own * sign).clamp(min=0) * sign
        rows.append((each * (relevance[t] / stabilised(each.sum(1) + own, eps))[:, None]).sum(0))
    return torch.stack(rows)


def linear_positive(x: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor) -> Tensor:
    """R_i = Σ_j (x_i W_ji)⁺ / Σ_i' (x_i' W_ji')⁺ R_j; the bias gets nothing."""
    rows = []
    for t in range(len(x)):
        each = (x[t][None] * weight).clamp(min=0)
        rows.append((each / each.sum(1, keepdim=True) * relevance[t][:, None]).sum(0))
    return torch.stack(rows)


def softmax_taylor(x: Tensor, relevance: Tensor) -> Tensor:
    """R_i = x_i (R_i − s_i Σ_j R_j), of one row."""
    s = x.exp() / x.exp().sum()
    return torch.stack([x[i] * (relevance[i] - s[i] * relevance.sum()) for i in range(len(x))])


def matmul_halves(a: Tensor, b: Tensor, relevance: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """R_ji(A) = Σ_p ½ A_ji B_ip R_jp / O_jp, and the same for B."""
    output = stabilised(a @ b, eps)
    of_a, of_b = torch.zeros_like(a), torch.zeros_like(b)
    for j in range(a.shape[0]):
        for i in range(a.shape[1]):
            share = 0.5 * a[j, i] * b[i] * relevance[j] / output[j]
            of_a[j, i] += share.sum()
            of_b[i] += share
    return of_a, of_b


def norm_held(x: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor, eps: float) -> Tensor:
    """A layer norm whose spread is a constant: y_j = γ_j (x_j − mean x) / σ + β_j, by epsilon."""
    count, rows = x.shape[1], []
    for t in range(len(x)):
        spread = (x[t].var(unbiased=False) + 1e-5).sqrt()
        slopes = weight[:, None] * (torch.eye(count, dtype=x.dtype) - 1 / count) / spread
        y = stabilised(slopes @ x[t] + bias, eps)
        rows.append((x[t][None] * slopes * (relevance[t] / y)[:, None]).sum(0))
    return torch.stack(rows)


def sum_by_contribution(a: Tensor, b: Tensor, relevance: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    z = stabilised(a + b, eps)
    return a * relevance / z, b * relevance / z


def sum_balanced(a: Tensor, b: Tensor, relevance: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The same, and then each part scaled to |ΣR_a| / (|ΣR_a| + |ΣR_b|) of all relevance."""
    first, second = sum_by_contribution(a, b, relevance, eps)
    sizes = first.sum().abs(), second.sum().abs()
    scaled = [
        part * size / (sizes[0] + sizes[1]) * relevance.sum() / part.sum()
        for part, size in zip((first, second), sizes, strict=True)
    ]
    return scaled[0], scaled[1]


@dataclass
class Rules:
    """What a method does at each operator; softmax rows one by one."""

    linear: Callable[..., Tensor]
    patches: Callable[..., Tensor]
    norm: Callable[..., Tensor]
    softmax: Callable[[Tensor, Tensor], Tensor]
    add: Callable[..., tuple[Tensor, Tensor]]
    eps: float


def attnlrp(eps: float, gamma: float) -> Rules:
    return Rules(
        linear=lambda *a: linear_epsilon(*a, eps),
        patches=lambda *a: linear_gamma(*a, eps, gamma),
        norm=lambda *a: norm_held(*a, eps),
        softmax=softmax_taylor,
        add=lambda *a: sum_by_contribution(*a, eps),
        eps=eps,
    )


def chefer(eps: float) -> Rules:
    return Rules(
        linear=linear_positive,
        patches=linear_positive,
        norm=lambda x, weight, bias, relevance: relevance,
        softmax=lambda x, relevance: relevance,
        add=lambda *a: sum_balanced(*a, eps),
        eps=eps,
    )


@dataclass
class Forward:
    """A forward pass of `SmallVit` with everything kept."""

    net: SmallVit
    image: Tensor
    kept: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        net, w = self.net, self.net.patches.weight
        _, height, width = self.image.shape
        self.size = height // PATCH, width // PATCH
        cut = self.image.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH)  # [3, h, w, 8, 8]
        self.cut = cut.permute(1, 2, 0, 3, 4).reshape(self.size[0] * self.size[1], -1)
        embedded = self.cut @ w.reshape(len(w), -1).T + net.patches.bias
        rows = net.rows[0, :, : self.size[0]].expand(-1, -1, self.size[1]).flatten(1).T
        columns = net.columns[0, ..., : self.size[1]].expand(-1, self.size[0], -1).flatten(1).T
        self.sums = [embedded, embedded + rows, embedded + rows + columns]
        tokens = torch.cat([net.prefix[0], self.sums[2]])
        for block in net.blocks:
            kept = {"tokens": tokens, "normed": block.norm1(tokens)}
            qkv = block.attention.qkv(kept["normed"]).unflatten(-1, (3, HEADS, -1)).permute(1, 2, 0, 3)
            kept["q"], kept["k"], kept["v"] = qkv[0] / math.sqrt(qkv.shape[-1]), qkv[1], qkv[2]
            kept["logits"] = kept["q"] @ kept["k"].transpose(1, 2)
            kept["weights"] = kept["logits"].softmax(-1)
            if kept["weights"].requires_grad:
                kept["weights"].retain_grad()
            kept["mixed"] = (kept["weights"] @ kept["v"]).transpose(0, 1).flatten(1)
            kept["out"] = block.attention.out(kept["mixed"])
            kept["middle"] = tokens + kept["out"]
            kept["normed2"] = block.norm2(kept["middle"])
            kept["hidden"] = block.mlp[0](kept["normed2"])
            kept["up"] = block.mlp[1](kept["hidden"])
            kept["down"] = block.mlp[2](kept["up"])
            tokens = kept["middle"] + kept["down"]
            self.kept.append(kept)
        self.tokens, self.normed = tokens, net.norm(tokens)
        first = net.prefix.shape[1]
        self.read = self.normed[0] if net.class_token else self.normed[first:].mean(0)
        self.answer = net.head(self.read)


def relevance(forward: Forward, begun: Tensor, rules: Rules) -> tuple[Tensor, list[Tensor]]:
    """What arrives at the pixels [3, H, W], and at the attention weights of each block, of what begins at the head."""
    net = forward.net
    at_read = rules.linear(forward.read[None], net.head.weight, net.head.bias, begun[None])[0]
    arriving = torch.zeros_like(forward.normed)
    if net.class_token:
        arriving[0] = at_read
    else:
        patches = forward.normed[net.prefix.shape[1] :]
        arriving[net.prefix.shape[1] :] = patches / len(patches) / stabilised(forward.read, rules.eps) * at_read
    arriving = rules.norm(forward.tokens, net.norm.weight, net.norm.bias, arriving)
    at_weights = []
    for block, kept in zip(reversed(net.blocks), reversed(forward.kept), strict=True):
        arriving, of_weights = _through_block(block, kept, arriving, rules)
        at_weights.insert(0, of_weights)
    patches = arriving[net.prefix.shape[1] :]
    for before, after in ((1, 2), (0, 1)):
        summed = forward.sums[after]
        patches = forward.sums[before] * patches / stabilised(summed, rules.eps)
    weight = net.patches.weight.reshape(len(net.patches.weight), -1)
    pixels = rules.patches(forward.cut, weight, net.patches.bias, patches)
    height, width = forward.size
    laid = pixels.reshape(height, width, 3, PATCH, PATCH).permute(2, 0, 3, 1, 4)
    return laid.reshape(3, height * PATCH, width * PATCH), at_weights


def _through_block(block: Any, kept: dict[str, Any], arriving: Tensor, rules: Rules) -> tuple[Tensor, Tensor]:
    middle, down = rules.add(kept["middle"], kept["down"], arriving)
    up = rules.linear(kept["up"], block.mlp[2].weight, block.mlp[2].bias, down)
    normed2 = rules.linear(kept["normed2"], block.mlp[0].weight, block.mlp[0].bias, up)
    middle = middle + rules.norm(kept["middle"], block.norm2.weight, block.norm2.bias, normed2)
    tokens, out = rules.add(kept["tokens"], kept["out"], middle)
    mixed = rules.linear(kept["mixed"], block.attention.out.weight, block.attention.out.bias, out)
    mixed = mixed.unflatten(1, (HEADS, -1)).transpose(0, 1)
    at_weights, at_qkv = [], []
    for h in range(HEADS):
        of_weights, of_value = matmul_halves(kept["weights"][h], kept["v"][h], mixed[h], rules.eps)
        logits = kept["logits"][h]
        of_logits = torch.stack([rules.softmax(logits[t], of_weights[t]) for t in range(len(logits))])
        of_query, of_key = matmul_halves(kept["q"][h], kept["k"][h].T, of_logits, rules.eps)
        at_weights.append(of_weights)
        at_qkv.append(torch.stack([of_query, of_key.T, of_value]))
    qkv = torch.stack(at_qkv, 1).permute(2, 0, 1, 3).flatten(1)  # [tokens, 3 · heads · channels]
    normed = rules.linear(kept["normed"], block.attention.qkv.weight, block.attention.qkv.bias, qkv)
    tokens = tokens + rules.norm(kept["tokens"], block.norm1.weight, block.norm1.bias, normed)
    return tokens, torch.stack(at_weights)
