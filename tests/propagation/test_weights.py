"""Weights that change between calls are seen, however they change; what was made of them is kept no longer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import xaipipe
from tests.propagation.everywhere import Everywhere, Of, agrees, mix, numbers, plain
from xaipipe import Model
from xaipipe.models.targets import Question
from xaipipe.models.weight_cache import WeightCache
from xaipipe.propagation import Books, Operation, Rule, Weighted, pull_back


class ByParts(Rule):
    """The gradient, put together from the parts of weights that are kept."""

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor | None]:
        if not isinstance(op, Weighted):
            return op.gradient(operands, arriving)
        x = operands[0]
        return [op.pull(arriving, x, "positive") + op.pull(arriving, x, "negative")]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(64, 3)).double().eval()


def steps(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(numbers(2, 3, 4, 4)).square().sum().backward()
    optimizer.step()
    model.zero_grad()


def assigned(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data * 1.5


def loaded(model: nn.Module) -> None:
    model.load_state_dict(scaled(model))


def loaded_by_assignment(model: nn.Module) -> None:
    model.load_state_dict(scaled(model), assign=True)


def scaled(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor * (1.5 if tensor.is_floating_point() else 1) for name, tensor in model.state_dict().items()}


def replaced(model: nn.Module) -> None:
    model[0].weight = nn.Parameter(model[0].weight.detach().flip(1))


def transposed(model: nn.Module) -> None:
    """The same memory in another order."""
    model[3].weight.data = model[3].weight.data.transpose(0, 1)


def in_place(model: nn.Module) -> None:
    with torch.no_grad():
        model[0].weight.mul_(2)
        model[1].running_var.add_(1)


def statistics(model: nn.Module) -> None:
    model.train()
    model(numbers(2, 3, 4, 4))
    model.eval()


def frozen(model: nn.Module) -> None:
    model.requires_grad_(False)
    with torch.no_grad():
        model[3].weight.neg_()


def behind_the_back(model: nn.Module) -> None:
    model[0].weight.data.mul_(3)


SEEN = [steps, assigned, loaded, loaded_by_assignment, replaced, transposed, in_place, frozen]
UNSEEN = [statistics, behind_the_back]
"""torch does not say that these happened."""


@pytest.mark.parametrize("change", [*SEEN, *UNSEEN])
@pytest.mark.parametrize("kept", [True, False])
def test_changes_are_seen(change: Callable[[nn.Module], None], kept: bool) -> None:
    """A cache is for weights that stay as they are; most changes are seen nevertheless."""
    if kept and change in UNSEEN:
        pytest.skip("for these a cache must not be kept")
    module = network()
    model, x = replace(Model.of(module), weights=WeightCache() if kept else None), numbers(2, 3, 4, 4)
    for _ in range(3):
        (got,) = pull_back(model, x, [Question(mix(0))], Everywhere(rule=ByParts()))
        _, gradient = plain(module, x, mix(0))
        torch.testing.assert_close(got.values, gradient, rtol=1e-12, atol=1e-12)
        change(module)


@pytest.mark.parametrize("change", UNSEEN)
def test_every_call_of_explain_looks_at_the_weights_anew(change: Callable[[nn.Module], None]) -> None:
    module, x = network(), numbers(2, 3, 4, 4)
    for model in (module, Model.of(module)):
        before = xaipipe.explain(model, x, "saliency", target=0).values
        change(module)
        after = xaipipe.explain(model, x, "saliency", target=0).values
        assert not torch.allclose(before, after)
        assert torch.equal(after, xaipipe.explain(copy.deepcopy(module), x, "saliency", target=0).values)


def test_nothing_is_kept_of_weights_that_are_gone() -> None:
    module = network()
    cache, x = WeightCache(), numbers(2, 3, 4, 4)
    model, sizes = replace(Model.of(module), weights=cache), []
    for _ in range(4):
        pull_back(model, x, [Question(mix(0))], Everywhere(rule=ByParts()))
        sizes.append((len(cache._kept), len(cache._constants)))
        loaded_by_assignment(module)
        assigned(module)
    assert sizes[0] == sizes[-1]


def test_something_is_kept() -> None:
    made: list[int] = []
    cache, weight = WeightCache(), network()[0].weight

    def make() -> Tensor:
        made.append(1)
        return weight.detach() * 2

    first = cache.made("twice", (weight,), make)
    assert cache.made("twice", (weight,), make) is first
    with torch.no_grad():
        weight.add_(1)
    assert cache.made("twice", (weight,), make) is not first
    assert len(made) == 2


class Standardised(nn.Conv2d):
    """Its weights are computed in the forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / self.weight.std(dim=(1, 2, 3), keepdim=True)
        scaled = F.batch_norm(weight.reshape(1, len(weight), -1), None, None, training=True).reshape_as(weight)
        return F.conv2d(x, scaled, self.bias)


class Dynamic(nn.Module):
    """Weights that depend on the input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([F.conv2d(one[None], one[None, :, :2, :2]) for one in x])


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * 2


def parametrised() -> nn.Module:
    layer = nn.Conv2d(3, 4, 3)
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "make",
    [
        parametrised,
        lambda: Standardised(3, 4, 3),
        lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
        lambda: parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)),
        lambda: nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)),
        lambda: nn.utils.weight_norm(nn.Conv2d(3, 4, 3)),
    ],
)
def test_weights_that_are_computed(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    layer = make()
    model, x = Of(lambda x, layer: layer(x), layer), numbers(2, 3, 4, 4)
    agrees(model, x, Everywhere(rule=ByParts()))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(-1.5)
    agrees(model, x, Everywhere(rule=ByParts()))


def test_weights_that_depend_on_the_input_are_no_layer() -> None:
    with pytest.raises(xaipipe.InputError, match="conv2d, 2 operands that depend on the input"):
        agrees(Of(Dynamic()), numbers(2, 3, 4, 4))
    agrees(Of(Dynamic()), numbers(2, 3, 4, 4), Everywhere(strict=False))


def test_weights_from_inference_mode() -> None:
    """torch itself cannot go back through these."""
    with torch.inference_mode():
        frozen = network()
    x = numbers(2, 3, 4, 4)
    got = xaipipe.explain(frozen, x, "saliency", target=0).values
    torch.testing.assert_close(got, xaipipe.explain(network(), x, "saliency", target=0).values)
