"""A tiny deterministic vision transformer, in the ways in which attention is written."""

from __future__ import annotations

import math
import time
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xaipipe.testing.models import fill

Spelling = Literal["plain", "fused", "module"]
"""matmul and softmax; `scaled_dot_product_attention`; `nn.MultiheadAttention`."""
_LONGEST = 8
"""Patches along a side for which there are position embeddings."""


class SmallVit(nn.Module):
    """Patches of 8 pixels, position embeddings, a class token, pre-norm blocks; the three spellings are one function.

    Without a class token the head reads the mean of the patches. `registers` are tokens behind the class token, which
    nobody reads. `pause` sleeps in the middle of a forward pass, so that two threads are sure to meet inside.
    """

    def __init__(
        self,
        spelling: Spelling = "plain",
        class_token: bool = True,
        registers: int = 0,
        classes: int = 3,
        depth: int = 2,
        seed: int = 5,
        pause: float = 0.0,
    ) -> None:
        super().__init__()
        channels, self.class_token, self._pause = 12, class_token, pause
        with torch.random.fork_rng(devices=[]):
            self.patches = nn.Conv2d(3, channels, 8, stride=8)
            self.rows = nn.Parameter(torch.empty(1, channels, _LONGEST, 1))
            self.columns = nn.Parameter(torch.empty(1, channels, 1, _LONGEST))
            self.prefix = nn.Parameter(torch.empty(1, class_token + registers, channels))
            self.blocks = nn.ModuleList(_Block(channels, spelling) for _ in range(depth))
            self.norm = nn.LayerNorm(channels)
            self.dropout = nn.Dropout(0.5)
            self.head = nn.Linear(channels, classes)
        fill(self, seed)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        maps = self.patches(x)
        height, width = maps.shape[2:]
        maps = maps + self.rows[:, :, :height] + self.columns[..., :width]
        tokens = torch.cat([self.prefix.expand(len(x), -1, -1), maps.flatten(2).transpose(1, 2)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
            time.sleep(self._pause)
        tokens = self.norm(tokens)
        read = tokens[:, 0] if self.class_token else tokens[:, self.prefix.shape[1] :].mean(dim=1)
        answer: Tensor = self.head(self.dropout(read))
        return answer


class _Block(nn.Module):
    def __init__(self, channels: int, spelling: Spelling) -> None:
        super().__init__()
        heads = 2
        self.norm1 = nn.LayerNorm(channels)
        self.attention: nn.Module = (
            _Module(channels, heads) if spelling == "module" else _Attention(channels, heads, fused=spelling == "fused")
        )
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens))
        answer: Tensor = tokens + self.mlp(self.norm2(tokens))
        return answer


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.heads, self._fused = heads, fused
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        split = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        if self._fused:
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            weights = (query / math.sqrt(query.shape[-1]) @ key.transpose(-2, -1)).softmax(dim=-1)
            mixed = weights @ value
        answer: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return answer


class _Module(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.mix(tokens, tokens, tokens, need_weights=False)[0]
        return mixed
