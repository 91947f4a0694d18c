"""What has no derivative is refused in words, whoever broke the chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from xaipipe import InputError, UsageError
from xaipipe.testing import SmallCnn, images


class Broken(SmallCnn):
    """A network that something is done to, in front or behind."""

    def __init__(self, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(super().forward(self.before(x)))


def same(x: Tensor) -> Tensor:
    return x


def without_gradients(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 2


def through_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(x.detach().numpy() * 2)


BREAKS = [Tensor.detach, without_gradients, through_numpy]


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient"])
@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_model_that_cuts_the_graph_is_refused(method: str, broken: Any, where: str) -> None:
    """Before the weights too, where the scores still have a gradient, but none that reaches the pixels."""
    model = Broken(broken, same) if where == "before" else Broken(same, broken)
    with pytest.raises(InputError) as caught:
        xaipipe.explain(model, images(2), method)
    assert str(caught.value) == (
        "the model's output does not depend on the pixels by differentiable operators\n  where: Broken\n"
        "  next: look for torch.no_grad, detach, argmax or numpy inside the model"
    )


def test_a_model_that_answers_classes_is_refused() -> None:
    with pytest.raises(InputError, match=r"no gradient\n  got: torch.int64[\s\S]*next: return the scores themselves"):
        xaipipe.explain(Broken(same, lambda x: x.argmax(dim=1)), images(2), "saliency")


def test_a_callable_that_cuts_the_graph_is_named() -> None:
    def detached(outputs: Tensor) -> Tensor:
        return outputs.detach()[:, 0]

    with pytest.raises(InputError, match=r"the target's scores do not depend on [\s\S]*got: target detached"):
        xaipipe.explain(SmallCnn(), images(2), "saliency", target=detached)


@pytest.mark.parametrize("broken", BREAKS)
def test_a_layer_behind_which_the_graph_is_cut_is_refused(broken: Any) -> None:
    with pytest.raises(UsageError, match=r"does not depend on layer 'block' [\s\S]*next: name another layer"):
        xaipipe.explain(Broken(same, broken), images(2), "gradcam", layer="block")


def test_a_network_that_is_not_trainable_is_explained() -> None:
    model: nn.Module = SmallCnn()
    expected = xaipipe.explain(model, images(2), "saliency").values
    assert xaipipe.explain(model.requires_grad_(False), images(2), "saliency").values.equal(expected)
