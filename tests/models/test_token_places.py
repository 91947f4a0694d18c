"""Tokens lie where their patches do, however a network makes them and whatever else is among them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import xaipipe
from tests.stock import stock
from xaipipe.models.layers import watch
from xaipipe.models.layout import Layout
from xaipipe.models.places import find_place
from xaipipe.testing import SmallVit, images

HEIGHT, WIDTH, C = 32, 48, 6


class Tokens(nn.Module):
    """Patches of 8 pixels made into tokens in some way, mixed by attention, looked at in `last`."""

    def __init__(self, make: Callable[[nn.ModuleDict, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        linear = {"linear": nn.Linear(3 * 64, C), "mix": nn.Linear(C, C), "long": nn.Linear(24, 24)}
        self.parts = nn.ModuleDict({"conv": nn.Conv2d(3, C, 8, 8), **linear})
        self.cls = nn.Parameter(torch.randn(1, 1, C))
        self.last = nn.LayerNorm(C)
        self.make = make

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.make(self, x)
        return self.last(tokens).flatten(1).sum(dim=1, keepdim=True)


def of_conv(net: Tokens, x: Tensor) -> Tensor:
    return net.parts["conv"](x).flatten(2).transpose(1, 2)


def of_linear(net: Tokens, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    patches = x.view(n, c, h // 8, 8, w // 8, 8).permute(0, 2, 4, 3, 5, 1)
    return net.parts["linear"](patches.reshape(n, (h // 8) * (w // 8), 64 * c))


def of_unfold(net: Tokens, x: Tensor) -> Tensor:
    return net.parts["linear"](F.unfold(x, 8, stride=8).transpose(1, 2))


def with_class_token(net: Tokens, tokens: Tensor) -> Tensor:
    return torch.cat([net.cls.expand(len(tokens), -1, -1), tokens], dim=1)


def attended(net: Tokens, tokens: Tensor) -> Tensor:
    query = net.parts["mix"](tokens)
    weights = (query @ tokens.transpose(-2, -1)).softmax(-1)
    return tokens + weights @ tokens


def only_attention(net: Tokens, tokens: Tensor) -> Tensor:
    query = key = value = tokens.unflatten(-1, (2, C // 2)).transpose(1, 2)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def mixer(net: Tokens, tokens: Tensor) -> Tensor:
    return tokens + net.parts["long"](tokens.transpose(1, 2)).transpose(1, 2)


def swin(net: Tokens, tokens: Tensor) -> Tensor:
    """Attention in shifted windows of 2 × 2 cells, padded; the way there and back as it is usually written."""
    n, count, c = tokens.shape
    maps = F.pad(tokens.view(n, 4, 6, c), (0, 0, 0, 0, 0, 0)).roll((-1, -1), (1, 2))
    windows = maps.view(n, 2, 2, 3, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
    mixed = only_attention(net, windows)
    back = mixed.view(n, 2, 3, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, 4, 6, c).roll((1, 1), (1, 2))
    return back.reshape(n, count, c)


TOKENS, BEHIND_ONE = Layout((0, 2, 1), (4, 6)), Layout((0, 2, 1), (4, 6), 1)
MAKERS: dict[str, tuple[Callable[[Tokens, Tensor], Tensor], Layout]] = {
    "a convolution": (of_conv, TOKENS),
    "patches by view and linear": (of_linear, TOKENS),
    "patches by unfold": (of_unfold, TOKENS),
    "class token": (lambda net, x: with_class_token(net, of_conv(net, x)), BEHIND_ONE),
    "class token behind": (lambda net, x: torch.cat([of_conv(net, x), net.cls.expand(len(x), -1, -1)], 1), TOKENS),
    "class token taken off": (lambda net, x: attended(net, with_class_token(net, of_conv(net, x)))[:, 1:], TOKENS),
    "attention by hand": (lambda net, x: attended(net, with_class_token(net, of_linear(net, x))), BEHIND_ONE),
    "attention without a way past it": (lambda net, x: only_attention(net, of_conv(net, x)), TOKENS),
    "sequence first": (lambda net, x: attended(net, of_conv(net, x)).permute(1, 0, 2), Layout((1, 2, 0), (4, 6))),
    "mixer": (lambda net, x: mixer(net, of_conv(net, x)), TOKENS),
    "shifted windows": (lambda net, x: swin(net, of_conv(net, x)), TOKENS),
    "channels last": (lambda net, x: net.parts["conv"](x).permute(0, 2, 3, 1), Layout((0, 3, 1, 2))),
    "tokens as channels last": (lambda net, x: of_conv(net, x).view(len(x), 4, 6, C), Layout((0, 3, 1, 2))),
}


@pytest.mark.parametrize("name", MAKERS)
def test_tokens_are_where_their_patches_are(name: str) -> None:
    make, layout = MAKERS[name]
    place = find_place(Tokens(make), "last", images(2, (HEIGHT, WIDTH)))
    assert place.layer.layout == layout
    assert (place.size, place.grid) == ((4, 6), xaipipe.Grid((8, 8), (3.5, 3.5)))
    assert place.source == "derived from the network's operators"


@pytest.mark.parametrize("name", MAKERS)
def test_a_cell_answers_to_its_own_patch_most(name: str) -> None:
    """By gradients, which know nothing of layouts: of every cell the largest is in its patch, or nowhere else."""
    make, layout = MAKERS[name]
    net, x = Tokens(make).double(), images(1, (HEIGHT, WIDTH)).double().requires_grad_()
    kept: list[Tensor] = []
    with watch(net.last, kept.append):
        net(x)
    maps = layout.to_maps(kept[-1])
    for row, column in ((0, 0), (1, 4), (3, 5)):
        (gradient,) = torch.autograd.grad(maps[0, 1, row, column], x, retain_graph=True)
        by_patch = gradient[0].square().sum(0).reshape(4, 8, 6, 8).sum(dim=(1, 3))
        if name != "attention without a way past it":
            assert divmod(int(by_patch.argmax()), 6) == (row, column)
        assert by_patch[row, column] > 0


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda net, x: of_conv(net, x)[:, torch.randperm(24)], id="shuffled"),
        pytest.param(lambda net, x: of_conv(net, x).mean(1, keepdim=True).expand(-1, 24, -1), id="pooled"),
        pytest.param(lambda net, x: of_conv(net, x)[:, :23], id="one is missing"),
        pytest.param(lambda net, x: of_conv(net, x).flip(1), id="backwards"),
    ],
)
def test_tokens_that_are_no_grid_are_refused(make: Callable[[Tokens, Tensor], Tensor]) -> None:
    with pytest.raises(xaipipe.UsageError, match="layer 'last' has no spatial output"):
        find_place(Tokens(make), "last", images(1, (HEIGHT, WIDTH)))


class Windowed(nn.Module):
    """A block that mixes what lies in windows of its own, which share a dimension with the images."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        windows = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        mixed = self.inside(windows).reshape(n, h // 4, w // 4, 4, 4, c)
        return mixed.permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)


def test_of_windows_the_layer_around_them_is_named() -> None:
    net = nn.Sequential(Windowed(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(xaipipe.UsageError) as caught:
        xaipipe.explain(net, images(2, (8, 12)), layer="0.inside", target=1)
    assert str(caught.value) == (
        "layer '0.inside' has no spatial output\n"
        "  got: (6, 16, 3) of one image: 6 windows, or other parts, in place of images\n"
        "  expected: a tensor [N, C, h, w], or tokens that lie on the image\n"
        "  next: name '0', the layer around it, whose output has"
    )
    assert xaipipe.explain(net, images(2, (8, 12)), layer="0", target=1).values.shape == (2, 1, 8, 12)


@pytest.mark.parametrize("spelling", ["plain", "fused", "module"])
@pytest.mark.parametrize(("class_token", "registers"), [(True, 0), (True, 3), (False, 0), (False, 2)])
def test_every_layer_of_a_transformer_has_its_place(spelling: str, class_token: bool, registers: int) -> None:
    model = SmallVit(spelling, class_token, registers)  # type: ignore[arg-type]
    x = images(2, (32, 24))
    for name in ("blocks.0", "blocks.1.norm1", "blocks.0.attention" if spelling != "module" else "norm", "norm"):
        place = find_place(model, name, x)
        assert place.layer.layout == Layout((0, 2, 1), (4, 3), class_token + registers)
        assert place.grid == xaipipe.Grid((8, 8), (3.5, 3.5))


def test_a_transformer_is_explained_without_a_function_for_its_tokens() -> None:
    model, x = SmallVit(registers=1).double(), images(2, (32, 24)).double()
    explained = xaipipe.explain(model, x, method="gradcam", target=1)
    assert explained.values.shape == (2, 1, 4, 3)
    assert explained.diagnostics["layer"] == "blocks.1.norm1"
    one_by_one = torch.cat([xaipipe.explain(model, one[None], method="gradcam", target=1).values for one in x])
    torch.testing.assert_close(explained.values, one_by_one, rtol=1e-12, atol=1e-15)


def test_cells_that_nobody_reads_are_said() -> None:
    """Behind the last attention only the class token is read; a map of zeros would say nothing of that."""
    with pytest.raises(
        xaipipe.UsageError,
        match=r"the target does not depend on layer 'norm'[\s\S]*next: name another layer, 'auto' is one",
    ):
        xaipipe.explain(SmallVit(), images(1, (32, 24)), method="gradcam", layer="norm", target=1)


STOCK = {
    "torchvision:vit_b_32": ("encoder.layers.encoder_layer_11.ln_1", (7, 7), 32, 15.5, 1),
    "torchvision:swin_t": ("features.3", (28, 28), 8, 3.5, 0),
    "timm:vit_tiny_patch16_224": ("blocks.5", (14, 14), 16, 7.5, 1),
    "timm:deit_tiny_distilled_patch16_224": ("blocks.5", (14, 14), 16, 7.5, 2),
    "timm:beit_base_patch16_224": ("blocks.5", (14, 14), 16, 7.5, 1),
    "timm:eva02_tiny_patch14_224": ("blocks.5", (16, 16), 14, 6.5, 1),
    "timm:swin_tiny_patch4_window7_224": ("layers.2", (14, 14), 16, 7.5, 0),
    "timm:mixer_s16_224": ("blocks.5", (14, 14), 16, 7.5, 0),
    "timm:cait_xxs24_224": ("blocks.5", (14, 14), 16, 7.5, 0),
    "timm:pvt_v2_b0": ("stages.1.blocks.0", (28, 28), 8, 0.0, 0),
    "timm:convnextv2_atto": ("stages.2.blocks.0.norm", (14, 14), 16, 7.5, 0),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", STOCK)
def test_stock_nets(name: str) -> None:
    layer, size, scale, offset, start = STOCK[name]
    place = find_place(stock(name), layer, images(1, (224, 224)))
    assert place.size == size
    assert place.grid == xaipipe.Grid((scale, scale), (offset, offset))
    assert place.layer.layout.start == start
    assert place.source.startswith("derived")
