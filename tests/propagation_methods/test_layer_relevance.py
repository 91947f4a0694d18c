"""Relevance at a layer, and relevance through some of a layer's channels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from tests.propagation_methods.networks import seeded
from xaipipe import UsageError
from xaipipe.testing import SmallCnn, images

COMPOSITES = ["zero", "epsilon_plus_flat", "epsilon_gamma_box", "epsilon_alpha2_beta1"]


class Residual(nn.Module):
    """A block with a batch norm in it and around it a connection, run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.block = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.tokens = nn.Flatten(2)
        self.head = nn.Linear(6, 4)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
            self.norm.weight.normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        for _ in range(2):
            x = x + self.norm(self.block(x)).relu()
        answer: Tensor = self.head(self.tokens(x).mean(2))
        return answer


@pytest.fixture
def net() -> nn.Module:
    return seeded(Residual)


@pytest.fixture
def x() -> Tensor:
    return images(2, (24, 16)).double()


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("layer", ["stem", "block"])
def test_channels_in_two_sets_sum_to_all(net: nn.Module, x: Tensor, layer: str, composite: str) -> None:
    """Of what goes through the layer; what the connection past the block carries is in neither set's complement."""

    def through(channels: list[int]) -> Tensor:
        found = xaipipe.explain(net, x, "lrp", target=1, composite=composite, channels={layer: channels})
        return found.values

    none, some, others, every = (through(list(c)) for c in ((), (0, 2, 5), (1, 3, 4), range(6)))
    unconditioned = xaipipe.explain(net, x, "lrp", target=1, composite=composite).values
    torch.testing.assert_close(every, unconditioned, rtol=1e-10, atol=1e-14)
    if layer == "stem":  # all goes through it
        assert not none.any()
        torch.testing.assert_close(some + others, unconditioned, rtol=1e-10, atol=1e-14)
    else:
        assert none.any()
        assert float((some - none).abs().max()) > 1e-6


def test_channels_of_a_block_in_a_residual_connection_sum_to_all() -> None:
    """A block that runs once: what goes through its channels, and what goes past it, are all there is."""

    class Once(Residual):
        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).relu()
            x = x + self.norm(self.block(x)).relu()
            answer: Tensor = self.head(self.tokens(x).mean(2))
            return answer

    once, x = seeded(Once), images(2, (24, 16)).double()

    def through(**channels: list[int]) -> Tensor:
        return xaipipe.explain(once, x, "lrp", target=1, channels=channels).values

    parts = [through(block=[0, 2, 5]), through(block=[1, 3, 4])]
    torch.testing.assert_close(parts[0] + parts[1] - through(block=[]), through(), rtol=1e-10, atol=1e-14)


def test_channels_of_two_layers_are_taken_together(net: nn.Module, x: Tensor) -> None:
    both = xaipipe.explain(net, x, "lrp", target=1, channels={"stem": [0], "block": []})
    one = xaipipe.explain(net, x, "lrp", target=1, channels={"stem": [0]})
    assert not both.values.equal(one.values)
    assert math.isclose(one.diagnostics["begun"][0], float(one.scores[0]), rel_tol=1e-12)


@pytest.mark.parametrize("channels", [[6], [-1], [0, 99]])
def test_channels_that_are_not_there_are_refused(net: nn.Module, x: Tensor, channels: list[int]) -> None:
    with pytest.raises(UsageError, match=r"layer 'stem' has no such channels[\s\S]*0 … 5"):
        xaipipe.explain(net, x, "lrp", channels={"stem": channels})


def test_a_layers_map_lies_where_its_cells_are() -> None:
    """Relevance of a bright spot is found at the spot, not half a stride beside it."""
    net, x = SmallCnn().double(), torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    found = xaipipe.explain(net, x, "lrp", target=1, layer="stem")
    assert found.values.shape == (1, 8, 16, 16)
    assert found.grid == xaipipe.explain(net, x, "gradcam", target=1, layer="stem").grid
    assert found.grid.scale == (2.0, 2.0)
    assert found.diagnostics["layer"] == "stem"


def test_a_layer_without_space_has_one_cell(net: nn.Module, x: Tensor) -> None:
    found = xaipipe.explain(net, x, "lrp", target=3, layer="head")
    assert found.values.shape == (2, 4, 1, 1)
    assert found.grid.centres(0, 1) == [11.5]
    assert found.grid.centres(1, 1) == [7.5]
    torch.testing.assert_close(found.values[:, 3, 0, 0], found.scores)
    assert not found.values[:, :3].any()


def test_a_misspelt_layer_gets_the_nearest_one(net: nn.Module, x: Tensor) -> None:
    with pytest.raises(UsageError, match=r"the model has no layer 'steem'[\s\S]*did you mean 'stem'"):
        xaipipe.explain(net, x, "lrp", layer="steem")


def test_a_layer_whose_outputs_lie_nowhere_is_refused(net: nn.Module, x: Tensor) -> None:
    class Grouped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(2).unflatten(1, (2, -1)).transpose(2, 3).reshape(len(x), -1, 3)

    net.tokens, net.head = Grouped(), nn.Linear(192, 4, dtype=x.dtype)
    with pytest.raises(UsageError, match="layer 'tokens' has no spatial output"):
        xaipipe.explain(net, x, "lrp", layer="tokens")


def test_the_relevance_of_tokens_lies_where_they_do(net: nn.Module, x: Tensor) -> None:
    """Of a layer that only flattens: the maps' relevance."""
    found = xaipipe.explain(net, x, "lrp", target=1, layer="tokens")
    assert found.values.shape == (2, 6, 12, 8)
    assert (found.grid.scale, found.grid.offset) == ((2, 2), (0, 0))


def test_several_targets_at_a_layer_equal_one_by_one(net: nn.Module, x: Tensor) -> None:
    together = xaipipe.explain(net, x, "lrp", target=[0, 3], layer="stem")
    for target, got in zip((0, 3), together, strict=True):
        alone = xaipipe.explain(net, x, "lrp", target=target, layer="stem")
        torch.testing.assert_close(got.values, alone.values)
        assert got.grid == alone.grid


def test_a_layer_of_a_chain_gets_all_that_was_not_absorbed_behind_it() -> None:
    chain = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)))
    found = xaipipe.explain(chain, images(2, (8, 8)).double(), "lrp", target=1, layer="1")
    assert max(map(abs, found.diagnostics["elsewhere"])) < 1e-12
    for bias in found.diagnostics["bias"]:  # of the layer before it nothing is counted
        assert bias == pytest.approx(chain[3].bias[1].item(), rel=1e-3)
