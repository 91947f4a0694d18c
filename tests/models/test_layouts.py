"""Outputs become maps, and maps outputs: whatever a layer puts out, methods see [N, C, h, w]."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xaipipe.models.layers import graph_from, watch
from xaipipe.models.layout import Layout
from xaipipe.models.model import Model
from xaipipe.models.places import find_place, find_places
from xaipipe.models.targets import Question
from xaipipe.propagation.layer_pass import pass_from
from xaipipe.testing import SmallVit, images

LAYOUTS = {
    "maps": (Layout(), (2, 5, 3, 4)),
    "turned": (Layout((0, 1, 3, 2)), (2, 5, 4, 3)),
    "channels last": (Layout((0, 3, 1, 2)), (2, 3, 4, 5)),
    "tokens": (Layout((0, 2, 1), (3, 4)), (2, 12, 5)),
    "flattened maps": (Layout((0, 1, 2), (3, 4)), (2, 5, 12)),
    "class token and registers": (Layout((0, 2, 1), (3, 4), 5), (2, 17, 5)),
    "tokens behind": (Layout((0, 2, 1), (3, 4), 1), (2, 15, 5)),
    "tokens first": (Layout((1, 2, 0), (3, 4), 1), (13, 2, 5)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_there_and_back_is_the_same(name: str) -> None:
    layout, shape = LAYOUTS[name]
    output, other = torch.randn(shape), torch.randn(shape)
    maps = layout.to_maps(output)
    assert layout.fits(output)
    assert maps.shape == (2, 5, 3, 4)
    assert torch.equal(layout.from_maps(maps, output), output)
    exchanged = layout.from_maps(layout.to_maps(other), output)
    assert torch.equal(layout.to_maps(exchanged), layout.to_maps(other))
    assert exchanged.shape == output.shape


def test_a_token_is_the_cell_that_it_is_in_the_order_of_rows() -> None:
    layout = Layout((0, 2, 1), (3, 4), 1)
    tokens = torch.arange(13.0).reshape(1, 13, 1)
    assert layout.to_maps(tokens)[0, 0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


def test_what_has_no_place_stays_as_it_was() -> None:
    layout, like = Layout((0, 2, 1), (3, 4), 1), torch.randn(2, 15, 5)
    exchanged = layout.from_maps(torch.zeros(2, 5, 3, 4), like)
    assert torch.equal(exchanged[:, :1], like[:, :1])
    assert torch.equal(exchanged[:, 13:], like[:, 13:])
    assert not exchanged[:, 1:13].any()


@pytest.mark.parametrize("output", [torch.zeros(2, 3), torch.zeros(1, 3, 4, 5), torch.zeros(2, 12, 5), (0, 0)])
def test_what_does_not_fit_is_told(output: object) -> None:
    assert not Layout((0, 2, 1), (3, 4), 1).fits(output)


@pytest.fixture
def vit() -> nn.Module:
    return SmallVit(class_token=True, registers=2).double()


@pytest.fixture
def x() -> Tensor:
    return images(2, (32, 24)).double()


def slow_gradient(model: nn.Module, x: Tensor, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Tokens and ∂y/∂tokens, by torch alone."""
    kept: list[Tensor] = []
    with watch(layer, kept.append):
        score = model(x.requires_grad_())[:, 1].sum()
    (gradient,) = torch.autograd.grad(score, kept[-1])
    return kept[-1].detach(), gradient


def test_maps_and_gradients_of_tokens_are_the_patches(vit: nn.Module, x: Tensor) -> None:
    place = find_place(vit, "blocks.0", x)
    tokens, gradient = slow_gradient(vit, x.clone(), vit.blocks[0])
    passed = pass_from(Model.of(vit), x, [Question(1)], [place.layer])
    activation, ((slope,),) = passed.outputs[0].detach(), passed.gradients()
    height, width = place.size
    assert (height, width) == vit.patches(x).shape[2:]
    for got, expected in ((activation, tokens), (slope, gradient)):
        maps = expected[:, 3:].transpose(1, 2).reshape(2, -1, height, width)
        torch.testing.assert_close(got, maps, rtol=1e-12, atol=1e-14)


def test_several_layers_of_one_pass_have_the_gradients_that_each_has_alone(vit: nn.Module, x: Tensor) -> None:
    places = find_places(vit, ["blocks.1.norm1", "patches", "blocks.0"], x)
    (together,) = pass_from(Model.of(vit), x, [Question(1)], [place.layer for place in places]).gradients()
    for place, gradient in zip(places, together, strict=True):
        with graph_from(place.layer) as alone:
            score = vit(x)[:, 1].sum()
            (expected,) = torch.autograd.grad(score, alone.activation)
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)


def test_looking_changes_no_answer(vit: nn.Module, x: Tensor) -> None:
    expected = vit(x)
    for name in ("patches", "blocks.0", "blocks.1.norm1"):
        with graph_from(find_place(vit, name, x).layer):
            torch.testing.assert_close(vit(x), expected, rtol=1e-13, atol=1e-14)
