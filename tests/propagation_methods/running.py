"""Rules run by the engine on layers, beside their definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.propagation_methods.definitions import Array, Case, case_of
from xaipipe.models.model import Model
from xaipipe.models.targets import Question
from xaipipe.propagation import Operation, Pulled, Rule, Weighted, pull_back
from xaipipe.propagation.books import ABSORBERS
from xaipipe_propagation.composites import around


@dataclass(frozen=True)
class Only:
    """One rule for the weighted layers, another for the rest."""

    rule: Rule
    eps: float = 1e-6
    strict: bool = True

    def rule_for(self, op: Operation) -> Rule | None:
        if isinstance(op, Weighted):
            return self.rule
        return around(self.eps).get(op.kind)


def pulled(net: nn.Module, x: Tensor, rule: Rule, relevance: Sequence[Tensor]) -> list[Pulled]:
    """What arrives at x [N, …] of each relevance [N, *outputs]."""

    def asked(begin: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda outputs: (outputs * begin).reshape(len(outputs), -1).sum(dim=1)

    return pull_back(Model.of(net), x, [Question(asked(begin)) for begin in relevance], Only(rule))


def relevances(net: nn.Module, x: Tensor, count: int) -> list[Tensor]:
    """Some relevance of both signs at the outputs."""
    with torch.no_grad():
        shape = net(x).shape
    return [torch.randn(shape, dtype=x.dtype, generator=torch.Generator().manual_seed(k)) for k in range(count)]


def assert_as_defined(
    net: nn.Module, x: Tensor, rule: Rule, definition: Callable[[Case], Array], tolerance: float = 1e-8
) -> None:
    """For every image, and three targets at once; Σ arrived + absorbed is what began."""
    net = net.double().eval()
    ones = _of_ones(net)
    begins = relevances(net, x, 3)
    for begin, got in zip(begins, pulled(net, x, rule, begins), strict=True):
        for image in range(len(x)):
            one = slice(image, image + 1)
            want = definition(case_of(net, ones, x[one], begin[one])).reshape(x.shape[1:])
            difference = float((got.values[image] - torch.from_numpy(want)).abs().max())
            assert difference <= tolerance * max(1.0, float(abs(want).max())), f"off by {difference:g}"
        assert_accounted(got, tolerance)


def assert_accounted(got: Pulled, tolerance: float = 1e-10) -> None:
    """What arrived and what was absorbed sum to what began, image by image."""
    nothing = got.values.new_zeros(len(ABSORBERS), len(got.values))
    absorbed = torch.stack([nothing, *(part.amounts for part in got.absorbed)]).sum(dim=0)
    residual = got.begun - got.values.reshape(len(got.values), -1).sum(dim=1) - absorbed.sum(dim=0)
    scale = got.begun.abs() + got.values.reshape(len(got.values), -1).abs().sum(dim=1) + absorbed.abs().sum(dim=0)
    assert float((residual.abs() / scale.clamp_min(1e-300)).max()) <= tolerance


def _of_ones(net: nn.Module) -> nn.Module:
    """The same with all weights one and no bias; batch norms do nothing."""
    twin = deepcopy(net)
    for module in twin.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.reset_parameters()
        else:
            for name, parameter in module.named_parameters(recurse=False):
                with torch.no_grad():
                    parameter.fill_(0.0 if name == "bias" else 1.0)
    return twin
