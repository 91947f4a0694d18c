"""Where cells lie: the derived grid against closed forms, and against what gradients show.

A cell's centre is where its squared gradient has its centroid, on average over weights. Single random weights move
the centroid; so it is averaged over channels, and over models of one architecture with weights of their own.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaipipe.models.fields import Field
from xaipipe.models.geometry import cell_centroids, measured_grid
from xaipipe.models.layers import NamedLayer
from xaipipe.models.places import find_place
from xaipipe.models.survey import survey

SIZE = 48
MODELS = 6


class Net(nn.Module):
    """Some operators, ending in the layer that is looked at."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.body = build()
        self.last = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x)).mean(dim=(2, 3))


class Does(nn.Module):
    """Modules, and what is done with them."""

    def __init__(self, does: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.does = does

    def forward(self, x: Tensor) -> Tensor:
        return self.does(x, *self.parts)


def conv(channels: int = 3, *args: int, **kwargs: object) -> nn.Conv2d:
    return nn.Conv2d(channels, 8, *args, **kwargs)


def channels_last_block(x: Tensor, stem: nn.Module, mix: nn.Module) -> Tensor:
    maps = stem(x)
    return maps + mix(F.layer_norm(maps.permute(0, 2, 3, 1), (8,))).permute(0, 3, 1, 2)


def windowed(x: Tensor, stem: nn.Module, mix: nn.Module) -> Tensor:
    """Cells in windows of 3 × 3, each window mixed, and back to where they were."""
    maps = stem(x).permute(0, 2, 3, 1)
    n, height, width, channels = maps.shape
    windows = maps.view(n, height // 3, 3, width // 3, 3, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, 9, channels)
    mixed = windows + 0.1 * mix(windows.mean(1, keepdim=True))
    back = mixed.view(n, height // 3, width // 3, 3, 3, channels).permute(0, 1, 3, 2, 4, 5)
    return back.reshape(n, height, width, channels).permute(0, 3, 1, 2)


def merged(x: Tensor, stem: nn.Module, mix: nn.Module) -> Tensor:
    """Four neighbours become one cell, as between the stages of Swin."""
    maps = stem(x).permute(0, 2, 3, 1)
    parts = [maps[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return mix(torch.cat(parts, -1)).permute(0, 3, 1, 2)


NETS: dict[str, Callable[[], nn.Module]] = {
    "strided convolutions": lambda: nn.Sequential(conv(3, 3, 2, 1), nn.ReLU(), conv(8, 3, 2, 1)),
    "even kernels": lambda: nn.Sequential(conv(3, 4, 4), nn.GELU(), conv(8, 2, 2)),
    "no padding": lambda: nn.Sequential(conv(3, 7, 2), nn.ReLU(), conv(8, 3)),
    "dilation": lambda: nn.Sequential(conv(3, 3, 1, 2, dilation=2), conv(8, 3, 2, 3, dilation=3)),
    "different along y and x": lambda: conv(3, (3, 5), stride=(2, 4), padding=(0, 2)),
    "asymmetric padding": lambda: Does(lambda x, c: c(F.pad(x, (0, 1, 2, 3))), conv(3, 3, 2)),
    "negative padding": lambda: Does(lambda x, c: F.pad(c(x), (-2, -1, -1, -3)), conv(3, 3, 2, 1)),
    "same padding, odd": lambda: conv(3, 5, padding="same"),
    "same padding, even": lambda: nn.Sequential(conv(3, 4, padding="same"), conv(8, 2, padding="same", dilation=3)),
    "max pooling": lambda: nn.Sequential(conv(3, 3, 1, 1), nn.MaxPool2d(3, 2, 1)),
    "ceil mode": lambda: nn.Sequential(conv(3, 3, 2), nn.MaxPool2d(2, 2, ceil_mode=True)),
    "average pooling": lambda: nn.Sequential(conv(3, 3, 1, 1), nn.AvgPool2d(2), conv(8, 3, 2, 1)),
    "adaptive pooling": lambda: nn.Sequential(conv(3, 3, 2, 1), nn.AdaptiveAvgPool2d((8, 6))),
    "nearest upsampling": lambda: nn.Sequential(conv(3, 3, 4, 1), nn.Upsample(scale_factor=2)),
    "bilinear upsampling": lambda: nn.Sequential(conv(3, 3, 4, 1), nn.Upsample(scale_factor=4, mode="bilinear")),
    "aligned corners": lambda: nn.Sequential(
        conv(3, 3, 4, 1), nn.Upsample(size=(45, 34), mode="bilinear", align_corners=True)
    ),
    "transposed convolution": lambda: nn.Sequential(conv(3, 3, 4, 1), nn.ConvTranspose2d(8, 8, 4, 2, 1)),
    "transposed, odd kernel": lambda: nn.Sequential(conv(3, 3, 4, 1), nn.ConvTranspose2d(8, 8, 3, 2, 1, 1)),
    "channels last": lambda: Does(channels_last_block, conv(3, 4, 4), nn.Linear(8, 8)),
    "transposed there and back": lambda: Does(
        lambda x, c: F.gelu(c(x).transpose(2, 3)).transpose(2, 3), conv(3, 3, (2, 1), 1)
    ),
    "residual": lambda: Does(lambda x, a, b, c: a(x) + c(b(x)), conv(3, 1, 2), conv(3, 3, 2, 1), conv(8, 3, 1, 1)),
    "concatenation": lambda: Does(
        lambda x, a, b: torch.cat([a(x), b(x)], 1), conv(3, 3, 2, 1), nn.Sequential(conv(3, 5, 2, 2), nn.ReLU())
    ),
    "channels shuffled in groups": lambda: Does(
        lambda x, c: c(x).view(len(x), 2, 4, 24, 24).transpose(1, 2).reshape(len(x), 8, 24, 24), conv(3, 3, 2, 1)
    ),
    "slicing": lambda: Does(lambda x, c: c(x)[:, 1:, 3:-2, 1::2], conv(3, 3, 1, 1)),
    "slicing with an ellipsis": lambda: Does(lambda x, c: c(x)[..., 2:, ::3], conv(3, 3, 1, 1)),
    "flattened and unflattened": lambda: Does(lambda x, c: c(x).flatten(2).unflatten(2, (24, 24)), conv(3, 3, 2, 1)),
    "turned": lambda: Does(lambda x, c: c(x).swapaxes(2, 3), conv(3, (3, 5), (2, 4), (1, 0))),
    "rolled and back": lambda: Does(lambda x, c: F.gelu(c(x).roll(3, -1)).roll(-3, -1), conv(3, 3, 2, 1)),
    "windows and back": lambda: Does(windowed, conv(3, 4, 4), nn.Linear(8, 8)),
    "pixels into channels": lambda: nn.Sequential(conv(3, 3, 2, 1), nn.PixelUnshuffle(2), conv(32, 1)),
    "channels into pixels": lambda: nn.Sequential(conv(3, 3, 4, 1), nn.PixelShuffle(2), conv(2, 3, 1, 1)),
    "patches merged": lambda: Does(merged, conv(3, 4, 4), nn.Linear(32, 8)),
    "adaptive max pooling": lambda: nn.Sequential(conv(3, 3, 1, 1), nn.AdaptiveMaxPool2d(12)),
    "group norm": lambda: nn.Sequential(conv(3, 3, 2, 1), nn.GroupNorm(2, 8)),
    "squeeze and excitation": lambda: Does(
        lambda x, c, g: c(x) * torch.sigmoid(g(c(x).mean((2, 3), keepdim=True))), conv(3, 3, 2, 1), conv(8, 1)
    ),
}  # fmt: skip


def made(name: str, seed: int = 0) -> tuple[Net, NamedLayer]:
    torch.manual_seed(seed)
    net = Net(NETS[name]).eval()
    return net, NamedLayer("last", net.last)


def random_image(seed: int = 0) -> Tensor:
    return torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def field_of(net: Net, image: Tensor | None = None) -> Field | None:
    """Where the cells of the last layer lie, as its operators say."""
    looked_at = survey(net, random_image() if image is None else image)
    return next(seen.field for seen in looked_at if seen.layer.name == "last")


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", NETS)
def test_a_cells_gradient_is_centred_where_the_grid_says(name: str) -> None:
    """On average over two neighbours: one upsampled cell may see no more than its twin does."""
    place = find_place(made(name)[0], "last", random_image())
    assert place.source == "derived from the network's operators"
    y, x = (n // 2 for n in place.size)
    cells = [(y + i, x + j) for i in (0, 1) for j in (0, 1)]
    nets = [(made(name, seed)[0], random_image(seed)) for seed in range(MODELS)]
    seen = torch.stack([cell_centroids(net, replace(place.layer, module=net.last), x, cells) for net, x in nets])
    for axis, first in ((0, y), (1, x)):
        stated = place.grid.centres(axis, first + 2)[-2:].mean()
        assert abs(float(seen[..., axis].mean()) - stated) < 1, f"axis {axis}"


@pytest.mark.parametrize("name", ["strided convolutions", "asymmetric padding", "channels last"])
def test_neighbouring_cells_lie_one_scale_apart(name: str) -> None:
    net, layer = made(name)
    measured = measured_grid(net, layer, random_image())
    field = field_of(net)
    assert field is not None
    assert measured.scale == pytest.approx(field.scale, abs=0.3)


@pytest.mark.parametrize(
    ("net", "scale", "offset", "receptive"),
    [
        (nn.Identity(), 1, 0, 1),
        (conv(3, 3, 2, 1), 2, 0, 3),
        (conv(3, 4, 4), 4, 1.5, 4),
        (conv(3, 3, 1, 2, dilation=2), 1, 0, 5),
        (conv(3, 2, padding="same"), 1, 0.5, 2),
        (nn.Sequential(conv(3, 7, 2, 3), nn.MaxPool2d(3, 2, 1), conv(8, 3, 2, 1)), 8, 0, 19),
        (nn.AvgPool2d(2), 2, 0.5, 2),
        (nn.MaxPool2d(2, stride=1), 1, 0.5, 2),
        (nn.AdaptiveAvgPool2d(12), 4, 1.5, 4),
        (nn.Upsample(scale_factor=2), 0.5, -0.25, None),
        (nn.Sequential(nn.AvgPool2d(4), nn.ConvTranspose2d(3, 3, 2, 2)), 2, 0.5, None),
        (nn.ZeroPad2d((1, 0, 1, 0)), 1, -1, 1),
    ],
)
def test_the_closed_form_is_exact(net: nn.Module, scale: float, offset: float, receptive: float | None) -> None:
    model = Net(lambda: net)
    field = field_of(model)
    assert field is not None
    assert (field.scale, field.offset) == ((scale, scale), (offset, offset))
    if receptive is not None:
        assert field.receptive == (receptive, receptive)


def test_resnets_stem_and_stages_have_stride_32_and_no_offset() -> None:
    """Half-pixel upsampling would put cell 0 at 15.5."""
    stages = [conv(3, 7, 2, 3), nn.MaxPool2d(3, 2, 1)] + [conv(8, 3, 2, 1) for _ in range(3)]
    model = Net(lambda: nn.Sequential(*stages))
    field = field_of(model, torch.zeros(1, 3, 224, 224))
    assert field is not None
    assert (field.scale, field.offset) == ((32, 32), (0, 0))


@pytest.mark.parametrize(
    "hide",
    [
        pytest.param(lambda x: torch.einsum("nchw->ncwh", x), id="einsum"),
        pytest.param(lambda x: x.sort(-1).values, id="sorted"),
        pytest.param(lambda x: F.grid_sample(x, torch.zeros(1, 9, 9, 2), align_corners=False), id="sampled"),
    ],
)
def test_an_operator_without_a_rule_is_admitted(hide: Callable[[Tensor], Tensor]) -> None:
    assert field_of(Net(lambda: Does(lambda x, c: hide(c(x)), conv(3, 3, 2, 1)))) is None


def test_looking_leaves_neither_hooks_nor_marks() -> None:
    net, layer = made("residual")
    image = random_image()
    survey(net, image)
    cell_centroids(net, layer, image, [(3, 3)])
    assert not vars(image)
    assert not any(part._forward_hooks for part in net.modules())
    assert all(weight.grad is None for weight in net.parameters())


@pytest.mark.parametrize(
    "move",
    [
        lambda x, stem: stem(x).flip(-1),
        lambda x, stem: stem(x).roll(5, -1),
        lambda x, stem: stem(x).rot90(1, (2, 3)),
        lambda x, stem: torch.einsum("nchw->ncwh", stem(x)),
        lambda x, stem: F.conv2d(stem(x).transpose(2, 3), torch.ones(1, 8, 3, 1), stride=(2, 1)),
    ],
)
def test_operators_that_move_cells_are_never_taken_for_keeping_them(move: Callable[..., Tensor]) -> None:
    """They have no rule, so the grid is not derived but measured, or refused."""
    net = Net(lambda: Does(move, conv(3, 3, 1, 1))).eval()
    assert field_of(net) is None


@pytest.mark.parametrize("factor", [0.3, 0.7, 1.7])
def test_a_scale_factor_is_taken_as_torch_takes_it(factor: float) -> None:
    """Not as the ratio of the sizes, which are rounded."""
    net = Net(lambda: Does(lambda x, stem: F.interpolate(stem(x), scale_factor=factor, mode="bilinear"), conv(3, 1)))
    field = field_of(net.eval(), torch.randn(1, 3, 61, 61))
    assert field is not None
    assert field.scale == pytest.approx((1 / factor, 1 / factor))
    assert field.offset[0] == pytest.approx((1 / factor - 1) / 2)
