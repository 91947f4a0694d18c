"""What is found out of a network's layers is kept as long as the network stays what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from xaipipe.models import known_places as module
from xaipipe.models.known_places import known_places
from xaipipe.models.model import Model
from xaipipe.models.weight_cache import WeightCache
from xaipipe.testing import SmallCnn, images


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The layers that were looked for, each time."""
    looked: list[object] = []
    find = module.find_places

    def noted(model: Model, layers: object, pixels: Tensor) -> object:
        looked.append(layers)
        return find(model, layers, pixels)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "find_places", noted)
    return looked


def test_layers_are_looked_for_once_for_inputs_of_one_size(found: list[object]) -> None:
    net = SmallCnn()
    first = xaipipe.explain(net, images(2), "gradcam", layer="block")
    again = xaipipe.explain(net, images(1, seed=5), "hirescam", layer="block")
    assert found == ["block"]
    assert first.grid == again.grid
    xaipipe.explain(net, images(1, (24, 40)), "gradcam", layer="block")
    xaipipe.explain(net, images(2), "gradcam", layer=["block", "stem"])
    assert found == ["block", "block", ("block", "stem")]


def wider(net: SmallCnn) -> None:
    net.stem.stride = (4, 4)


def another(net: SmallCnn) -> None:
    net.stem = nn.Conv2d(3, 8, 3, stride=4, padding=1)


def padded(net: SmallCnn) -> None:
    net.register_forward_pre_hook(lambda _, inputs: (nn.functional.pad(inputs[0], (4, 0, 4, 0)),))


@pytest.mark.parametrize("change", [wider, another, padded])
def test_a_network_that_changed_is_looked_at_anew(found: list[object], change: Callable[[SmallCnn], None]) -> None:
    net, x = SmallCnn(), images(1)
    before = xaipipe.explain(net, x, "gradcam", layer="stem")
    change(net)
    after = xaipipe.explain(net, x, "gradcam", layer="stem")
    assert len(found) == 2
    assert after.grid != before.grid
    assert after.grid == xaipipe.explain(net, x, "gradcam", layer="stem").grid


class Apart(nn.Module):
    """Branches whose cells lie apart: where a cell lies depends on what each contributes to an image."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 2, stride=2), nn.Conv2d(3, 4, 4, stride=2, padding=0)
        self.meet, self.head = nn.Identity(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.meet(self.left(x)[..., 1:, 1:] + self.right(x))
        answer: Tensor = self.head(maps.mean(dim=(2, 3)))
        return answer


def test_what_depends_on_an_image_is_kept_for_a_call_only(found: list[object]) -> None:
    torch.manual_seed(0)
    net, x = Apart().eval(), images(1)
    pieces = xaipipe.explain(net, x, "gradcam", layer="left"), xaipipe.explain(net, x, "gradcam", layer="meet")
    if "apart" not in str(pieces[1].diagnostics["grid"]):
        pytest.fail(f"the branches lie together: {pieces[1].diagnostics['grid']}")
    found.clear()
    for _ in range(2):
        xaipipe.explain(net, x, "gradcam", layer="meet")
        xaipipe.explain(net, x, "gradcam", layer="left")
    assert found == ["meet", "meet"]
    promised = replace(Model.of(net), weights=WeightCache())
    found.clear()
    for _ in range(2):
        known_places(promised, "meet", x)
    assert found == ["meet"]
