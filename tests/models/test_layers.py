"""Layers: by name, by module, or the last one with space; what has no maps is refused."""

import warnings

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

import xaipipe
from xaipipe import UsageError
from xaipipe.models.layers import Layer
from xaipipe.models.places import find_place, find_places


class Branches(nn.Module):
    """A layer that forward never runs, one that the scores ignore, one that gives tokens and one that gives a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)
        self.ignored = nn.Conv2d(4, 4, 1)
        self.never = nn.Conv2d(3, 4, 1)
        self.tokens = nn.Flatten(2)
        self.means = Mean()
        self.pair = Pair()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x)
        self.ignored(maps)
        self.pair(maps)
        return self.head(self.means(self.tokens(maps)))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=2)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.fixture
def branches() -> nn.Module:
    torch.manual_seed(0)
    return Branches().eval()


def test_auto_is_the_last_layer_with_more_than_one_cell(tiny: nn.Module, images: Tensor) -> None:
    assert find_place(tiny, "auto", images).layer.name == "3"


def test_auto_takes_the_outermost_of_nested_layers(tiny: nn.Module, images: Tensor) -> None:
    nested = nn.Sequential(tiny[:4], tiny[4:])
    assert find_place(nested, "auto", images).layer.name == "0"


def test_a_layer_is_found_by_name_and_by_module(tiny: nn.Module, images: Tensor) -> None:
    assert find_place(tiny, "2", images).layer.module is tiny[2]
    assert find_place(tiny, tiny[2], images).layer.name == "2"


def test_a_map_is_the_same_by_name_and_by_module(tiny: nn.Module, images: Tensor) -> None:
    by_name, by_module = (xaipipe.explain(tiny, images, target=0, layer=layer) for layer in ("2", tiny[2]))
    assert torch.equal(by_name.values, by_module.values)


def test_a_misspelt_layer_gets_the_nearest_one(branches: nn.Module, images: Tensor) -> None:
    with pytest.raises(UsageError) as caught:
        xaipipe.explain(branches, images, layer="boddy")
    assert str(caught.value) == ("the model has no layer 'boddy'\n  where: Branches\n  next: did you mean 'body'?")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("", "the model has no layer ''"),
        (
            "means",
            r"layer 'means' has no spatial output\n  got: \(1, 4\)\n  expected: a tensor \[N, C, h, w\], or tokens",
        ),
        ("head", r"layer 'head' has no spatial output\n  got: \(1, 2\)"),
        ("pair", "layer 'pair' has no spatial output\n  got: tuple"),
        ("never", "layer 'never' was not run by the model's forward pass"),
        ("ignored", "the target does not depend on layer 'ignored'"),
    ],
)
def test_a_layer_that_cannot_be_explained_says_why(
    branches: nn.Module, images: Tensor, layer: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        xaipipe.explain(branches, images, layer=layer, target=0)


def test_a_map_of_one_cell_is_refused(images: Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UsageError, match="layer '1' has too few cells to tell where they lie\n  got: a map of 1 × 1"):
        xaipipe.explain(net, images, layer="1", target=0)


def test_a_module_of_another_model_is_refused(tiny: nn.Module, images: Tensor) -> None:
    with pytest.raises(UsageError, match="the layer is not part of the model\n  got: Conv2d\n  where: Sequential"):
        xaipipe.explain(tiny, images, layer=nn.Conv2d(1, 1, 1))


def test_a_model_without_maps_points_to_a_method_that_needs_none(images: Tensor) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    with pytest.raises(UsageError, match=r"no layer of the model puts out maps .*\n.*\n  next: .*saliency"):
        xaipipe.explain(flat, images)


@pytest.mark.parametrize("layer", [3, None, [], [3], ["2", None]])
def test_what_is_no_layer_is_refused(tiny: nn.Module, images: Tensor, layer: object) -> None:
    with pytest.raises(UsageError, match="expected: a layer's dotted name, a module of the model, 'auto', or a list"):
        xaipipe.explain(tiny, images, layer=layer)


@pytest.mark.parametrize("layers", [["2", "0"], ("2", "0"), "2, 0", "2,0", ["2", "0", "2"]])
def test_several_layers_are_named_in_a_list(tiny: nn.Module, images: Tensor, layers: object) -> None:
    parsed = TypeAdapter(Layer, config={"arbitrary_types_allowed": True}).validate_python(layers)
    assert [place.layer.name for place in find_places(tiny, parsed, images)] == ["2", "0"]


def test_a_list_may_hold_names_modules_and_auto(tiny: nn.Module, images: Tensor) -> None:
    places = find_places(tiny, ["0", tiny[1], "auto"], images)
    assert [(place.layer.name, place.grid.scale) for place in places] == [("0", (2, 2)), ("1", (2, 2)), ("3", (4, 4))]


def test_each_of_several_layers_is_checked(branches: nn.Module, images: Tensor) -> None:
    with pytest.raises(UsageError, match="the model has no layer 'boddy'"):
        find_places(branches, ["body", "boddy"], images)
    with pytest.raises(UsageError, match="layer 'never' was not run"):
        find_places(branches, ["body", "never"], images)


def test_what_explains_one_layer_refuses_several(tiny: nn.Module, images: Tensor) -> None:
    with pytest.raises(UsageError, match="one layer is explained at a time here\n  got: 0, 2\n"):
        find_place(tiny, ["0", "2"], images)


def test_scripted_layers_are_refused_and_others_found(tiny: nn.Module, images: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(tiny[2])
    net = nn.Sequential(tiny[0], scripted, *tiny[4:]).eval()
    assert find_place(net, "0", images).grid.scale == (2, 2)
    with pytest.raises(UsageError, match="a scripted model does not let its layers be seen"):
        find_place(net, "1", images)
