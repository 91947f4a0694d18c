"""Attention weights as a model computes them, and the patches of the image that its tokens stand for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xaipipe import Model
from xaipipe.errors import UsageError
from xaipipe.models.differentiable import require_differentiable
from xaipipe.models.targets import Question, Selection
from xaipipe.propagation import Operation, Rule, Rules
from xaipipe.propagation.passes import ForwardPass, Where, beginning
from xaipipe.propagation.rules import OfAnother

_MOST_OTHERS = 32
"""Tokens beside the patches that a model is taken to have: class tokens, registers, prompts."""
_AT_ONCE = 16
"""Images that go backwards together, over all targets."""
_INSTEAD = "methods for any network: gradcam, saliency, lrp; for transformers of every kind: attnlrp"


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """An operator that ran, and what it put out, in the graph of the forward pass."""

    operation: Operation
    output: Tensor


@dataclass(frozen=True)
class Noted(OfAnother):
    """Goes by another rule, and notes what its operators put out, in their order."""

    rule: Rule
    seen: list[Seen] = field(default_factory=list, compare=False)

    def ran(self, op: Operation, operands: Sequence[Tensor], result: Tensor) -> None:
        self.seen.append(Seen(op, result))


@dataclass(frozen=True, eq=False)
class Attention:
    """Of one forward pass: the weights of every layer between the same tokens, and where those lie."""

    weights: tuple[Tensor, ...]
    """[N, heads, tokens, tokens] each, or [N · heads, tokens, tokens], as the model made them."""
    reading: Tensor
    """[N, tokens]: how much of each token the model's head takes; sums to 1."""
    patches: Seen
    """What made the tokens: its output is [N, C, h, w]."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return int(self.patches.output.shape[2]), int(self.patches.output.shape[3])

    def of_heads(self, values: Tensor) -> Tensor:
        """Something of the shape of one layer's weights as [N, heads, tokens, tokens]."""
        return values.reshape(len(self.patches.output), -1, *values.shape[-2:])

    def on_patches(self, rolled: Tensor) -> Tensor:
        """What the head takes of a matrix [N, tokens, tokens], of the tokens that are patches: [N, 1, h, w]."""
        read = (self.reading.to(rolled)[:, None] @ rolled)[:, 0]
        height, width = self.size
        return read[:, rolled.shape[-1] - height * width :].reshape(-1, 1, height, width)


@dataclass(frozen=True, eq=False)
class Asked:
    """What a model answered in one forward pass, whose graph is still there."""

    selections: tuple[Selection, ...]
    batched: bool
    """Whether torch can go back for several questions at once."""
    source: str

    def arrivals(self, ends: Sequence[Tensor]) -> Iterator[list[Tensor]]:
        """What arrives at tensors of the graph of each question's ∂score/∂outputs."""
        outputs = self.selections[0].outputs
        begins = [beginning(selection, "gradient", self.source) for selection in self.selections]
        chunk = max(1, _AT_ONCE // len(outputs)) if self.batched else 1

        def back(begun: Tensor) -> tuple[Tensor, ...]:
            found = torch.autograd.grad(outputs, list(ends), begun, retain_graph=True, allow_unused=True)
            return tuple(torch.zeros_like(e) if part is None else part for e, part in zip(ends, found, strict=True))

        for first in range(0, len(begins), chunk):
            some = begins[first : first + chunk]
            together = torch.func.vmap(back)(torch.stack(some)) if len(some) > 1 else [p[None] for p in back(some[0])]
            yield from ([part[k].detach() for part in together] for k in range(len(some)))


def asked_noting(model: Model, pixels: Tensor, questions: Sequence[Question], rules: Rules) -> Asked:
    """One forward pass under rules some of which note what they see."""
    run = ForwardPass(model, len(pixels), rules, Where(), several=len(questions) > 1)
    leaf = pixels.detach().requires_grad_()
    with torch.enable_grad():
        selections = model.ask(leaf, questions, run.forward)
        for selection in selections:
            require_differentiable(selection, model.source)
    run.captured.require_unchanged()
    return Asked(selections, not run.saw_foreign, model.source)


def between_tokens(seen: Sequence[Seen]) -> list[Seen]:
    """The softmaxes of self-attention: weights over as many tokens as ask."""
    return [one for one in seen if _is_attention(one) and one.output.shape[-1] == one.output.shape[-2]]


def attention_of(seen: Sequence[Seen], outputs: Tensor, images: int, source: str) -> Attention:
    """Of a pass whose softmaxes and convolutions were noted."""
    maps, between = [one for one in seen if _is_attention(one)], between_tokens(seen)
    if not between:
        raise UsageError("the model has no attention between tokens", where=source, hint=_INSTEAD)
    patches = _patches_before(seen, between[0])
    tokens = between[0].output.shape[-1]
    if patches is None:
        raise UsageError(
            "it cannot be told which part of the image each token is",
            got=f"{tokens} tokens, made without a convolution",
            expected="patches that a convolution makes",
            where=source,
            hint="write the patch embedding as nn.Conv2d; " + _INSTEAD,
        )
    pooling = maps[-1] if maps[-1] not in between and maps[-1].output.shape[-1] == tokens else None
    for one in maps:
        if one is not pooling:
            _require_all_tokens(one, patches, images, tokens, source)
    reading = _read(outputs, between[-1].output, images) if pooling is None else _pooled(pooling.output, images)
    return Attention(tuple(one.output for one in between), reading, patches)


def _is_attention(one: Seen) -> bool:
    """Weights over tokens: the classes of a classifier have two dimensions."""
    op, shape = one.operation, one.output.shape
    return (
        op.kind == "softmax"
        and len(shape) >= 3
        and op.dimension is not None
        and op.dimension % len(shape) == (len(shape) - 1)
    )


def _patches_before(seen: Sequence[Seen], first: Seen) -> Seen | None:
    """The last convolution before the first attention."""
    before = seen[: seen.index(first)]
    maps = [one for one in before if one.operation.kind == "convolution" and one.output.ndim == 4]
    return maps[-1] if maps else None


def _require_all_tokens(one: Seen, patches: Seen, images: int, tokens: int, source: str) -> None:
    """Refuse attention that sees a part of the tokens only, or another number of them."""
    shape, cells = one.output.shape, patches.output.shape[2] * patches.output.shape[3]
    together = len(shape) == 4 and shape[0] == images
    merged = len(shape) == 3 and shape[0] % images == 0
    if (together or merged) and shape[-2:] == (tokens, tokens) and 0 <= tokens - cells <= _MOST_OTHERS:
        return
    raise UsageError(
        "the model's attention is not between all patches of the image",
        got=f"weights {tuple(shape)} for {cells} patches of {images} images",
        expected="[images, heads, tokens, tokens], the same tokens in every layer: no windows, no stages",
        where=f"layer '{one.operation.layer}' of {source}",
        hint=_INSTEAD,
    )


def _read(outputs: Tensor, weights: Tensor, images: int) -> Tensor:
    """The tokens whose last attention makes a difference to the outputs, in equal parts.

    With a class token that is the class token; where patches are averaged, it is the patches.
    """
    uneven = torch.linspace(1, 2, outputs[0].numel(), dtype=outputs.dtype, device=outputs.device)
    (slope,) = torch.autograd.grad(
        outputs, weights, uneven.reshape(1, *outputs.shape[1:]).expand_as(outputs), retain_graph=True, allow_unused=True
    )
    if slope is None:
        return weights.new_full((images, weights.shape[-1]), 1 / weights.shape[-1])
    of_images = slope.reshape(images, -1, *slope.shape[-2:])
    matters = (of_images != 0).any(dim=-1).any(dim=1).to(torch.float64)
    matters = torch.where(matters.any(dim=1, keepdim=True), matters, 1.0)
    return matters / matters.sum(dim=1, keepdim=True)


def _pooled(weights: Tensor, images: int) -> Tensor:
    """Of a head that reads tokens by attention of its own: the mean over heads and queries."""
    return weights.detach().double().reshape(images, -1, weights.shape[-1]).mean(dim=1)
