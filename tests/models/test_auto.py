"""Which layer 'auto' is: the last one that all goes through and whose cells matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from tests.stock import stock
from xaipipe import Model, UsageError
from xaipipe.models.places import find_place
from xaipipe.models.survey import survey
from xaipipe.testing import SmallCnn, SmallVit, images


def conv(channels: int = 3, stride: int = 2) -> nn.Module:
    return nn.Conv2d(channels, 4, 3, stride, 1)


class Net(nn.Module):
    """Some parts, and what is done with them."""

    def __init__(self, forward: Callable[..., object], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self._does = forward

    def forward(self, x: Tensor) -> object:
        return self._does(self, x)


def pooled(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3))


def auto(model: nn.Module | Model, size: tuple[int, int] = (32, 32)) -> str:
    return find_place(model, "auto", images(1, size)).layer.name


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_a_layer_in_a_branch_is_passed_over() -> None:
    """The block runs last, and half of what the score knows comes past it."""
    assert auto(SmallCnn(), (32, 24)) == "relu"
    net = Net(lambda m, x: pooled((y := m.stem(x)) + m.block(y)), stem=conv(), block=conv(4, 1))
    assert auto(net) == "stem"


def test_where_nothing_goes_through_one_layer_it_is_the_last_that_matters() -> None:
    net = Net(
        lambda m, x: (m.unused(x), pooled(m.left(x)) + pooled(m.right(x)), m.ignored(x))[1],
        left=conv(), right=conv(), unused=conv(), ignored=conv(),
    )  # fmt: skip
    assert auto(net) == "right"


def test_a_head_that_nobody_asks_is_no_layer() -> None:
    net = Net(lambda m, x: {"out": pooled(y := m.stem(x)), "aux": pooled(m.aux(y))}, stem=conv(), aux=conv(4))
    assert auto(Model.of(net, output="out")) == "stem"
    assert auto(Model.of(net, output="aux")) == "aux"
    assert auto(net) == "stem"
    explained = xaipipe.explain(net.eval(), images(1), method="gradcam", target=0, output="aux")
    assert explained.diagnostics["layer"] == "aux"


def test_a_map_of_one_cell_has_no_space() -> None:
    net = nn.Sequential(conv(), nn.ReLU(), nn.AvgPool2d(16), nn.Conv2d(4, 4, 1), nn.Flatten())
    assert auto(net) == "1"


def test_of_nested_layers_the_outermost_is_taken_and_identities_are_none() -> None:
    net = nn.Sequential(nn.Sequential(nn.Sequential(conv())), nn.Identity(), nn.Dropout(), nn.Flatten())
    assert auto(net.eval()) == "0"


def test_a_reader_of_the_class_token_is_explained_in_front_of_its_last_attention() -> None:
    assert auto(SmallVit(depth=3)) == "blocks.2.norm1"
    assert auto(SmallVit(depth=3, registers=2, spelling="fused")) == "blocks.2.norm1"
    assert auto(SmallVit(spelling="module")) == "blocks.1.norm1"


def test_a_reader_of_all_tokens_is_explained_at_the_end() -> None:
    assert auto(SmallVit(class_token=False)) == "norm"
    assert auto(SmallVit(class_token=False, registers=1)) == "norm"


def test_in_front_of_a_norm_gradient_times_activation_cancels() -> None:
    """So what comes out of the norm is explained: a norm's input has no length for the score."""
    model, x = SmallVit(depth=2).double(), images(1, (32, 24)).double()

    def products(layer: str) -> Tensor:
        place = find_place(model, layer, x)
        with xaipipe.models.layers.graph_from(place.layer) as captured:
            score = model(x)[0, 1]
            (gradient,) = torch.autograd.grad(score, captured.activation)
        centred = captured.activation - captured.activation.mean(dim=1, keepdim=True)
        return (gradient * centred).sum(dim=1).detach().abs() / (gradient.norm(dim=1) * centred.norm(dim=1))

    assert products("blocks.0").max() < 1e-4  # but for the norm's eps
    assert products("blocks.1.norm1").mean() > 1e-2


def test_a_head_of_zeros_does_not_hide_the_layer() -> None:
    net = nn.Sequential(conv(), nn.ReLU(), conv(4), nn.ReLU(), conv(4, 1), nn.Flatten(), nn.Linear(256, 3))
    for parameter in net[-1].parameters():
        nn.init.zeros_(parameter)
    assert auto(net) == "4"


def test_without_a_derivative_it_is_the_last_layer_with_space() -> None:
    net = Net(lambda m, x: pooled(m.stem(x)).round().detach(), stem=conv())
    assert auto(net) == "stem"


def test_no_space_at_all_is_said() -> None:
    with pytest.raises(UsageError, match=r"no layer of the model puts out maps .* or tokens"):
        auto(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)))


def test_it_is_the_same_whatever_is_on_the_images() -> None:
    model = SmallVit(depth=3)
    grids = {find_place(model, "auto", image[None]).grid for image in images(3)}
    names = {find_place(model, "auto", image[None]).layer.name for image in (*images(3), torch.zeros(3, 32, 32))}
    assert len(grids) == len(names) == 1


def test_the_model_is_left_as_it_was() -> None:
    model, x = SmallVit(), images(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    find_place(model, "auto", x)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.is_grad_enabled()


def test_what_all_goes_through_is_known() -> None:
    alone = {seen.layer.name for seen in survey(SmallCnn(), images(1)) if seen.alone}
    assert alone == {"stem", "norm", "relu", "dropout", "head"}


STOCK = {
    "torchvision:resnet18": "layer4",
    "torchvision:densenet121": "features",
    "torchvision:mobilenet_v2": "features",
    "torchvision:swin_t": "permute",
    "torchvision:googlenet": "inception5b",
    "timm:vit_tiny_patch16_224": "blocks.11.norm1",
    "timm:deit_tiny_distilled_patch16_224": "blocks.11.norm1",
    "timm:eva02_tiny_patch14_224": "blocks.11",
    "timm:swin_tiny_patch4_window7_224": "norm",
    "timm:convnextv2_atto": "stages",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", STOCK)
def test_stock_nets(name: str) -> None:
    model = stock(name, **({"init_weights": False} if "googlenet" in name else {}))
    assert auto(model, (224, 224)) == STOCK[name]
