"""Rules everywhere that change nothing: what comes back has to be what torch's own gradient is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xaipipe import Model
from xaipipe.models.targets import Question
from xaipipe.propagation import Books, Gradient, Operation, Pulled, Rule, Where, pull_back


class Everywhere:
    """Each operator's own gradient, as a rule; operators that nobody knows are refused."""

    def __init__(self, strict: bool = True, rule: Rule | None = None) -> None:
        self.strict, self.rule = strict, rule or Gradient()
        self.seen: list[Operation] = []

    def rule_for(self, op: Operation) -> Rule:
        self.seen.append(op)
        return self.rule

    @property
    def kinds(self) -> list[str]:
        return [op.kind for op in self.seen]


class Booked(Gradient):
    """The gradient again; the books get an entry that the tests know."""

    absorbs = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor | None]:
        books.absorb("bias", arriving)
        return super().propagate(op, operands, output, arriving, books)


class Of(nn.Module):
    """A function as a model: whatever it makes of [N, C, H, W] is flattened to [N, …], each image by itself."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(x, *self.parts)
        return result.reshape(len(x), -1)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pulled(
    module: nn.Module, x: Tensor, targets: Sequence[Any] = (0,), rules: Any = None, where: Where | None = None
) -> list[Pulled]:
    questions = [Question.of(target) for target in targets]
    return pull_back(Model.of(module), x, questions, rules or Everywhere(), where=where)


def mix(seed: int) -> Callable[[Tensor], Tensor]:
    """A target: a sum of all outputs with weights of its own."""

    def score(outputs: Tensor) -> Tensor:
        flat = outputs.flatten(1)
        return (flat * numbers(flat.shape[1], seed=seed).to(flat.device, flat.dtype)).sum(dim=1)

    return score


def plain(module: nn.Module, x: Tensor, target: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """torch's own scores and gradient, of models too that write over what the gradient needs."""
    leaf = x.clone().requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.allow_mutation_on_saved_tensors():
        scores = target(module(leaf.clone()))
        (gradient,) = torch.autograd.grad(scores.sum(), leaf)
    return scores.detach(), gradient


def agrees(module: nn.Module, x: Tensor, rules: Any = None, close: float = 1e-11) -> Everywhere:
    """Same scores and same gradient as torch, for each of three targets alone and for all at once."""
    rules = rules or Everywhere()
    targets = [mix(seed) for seed in range(3)]
    alone = [pulled(module, x, [target], rules)[0] for target in targets]
    together = pulled(module, x, targets, rules)
    for target, one, other in zip(targets, alone, together, strict=True):
        scores, gradient = plain(module, x, target)
        assert gradient.abs().max() > 0
        torch.testing.assert_close(one.selection.scores, scores, rtol=close, atol=close)
        torch.testing.assert_close(one.values, gradient, rtol=close, atol=close)
        torch.testing.assert_close(other.values, one.values, rtol=close, atol=close)
    return rules  # type: ignore[no-any-return]
