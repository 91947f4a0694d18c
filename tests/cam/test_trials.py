"""Score-CAM and Ablation-CAM against their formulas, trial by trial; in chunks; and on networks that mix images up."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xaipipe
from tests.cam.networks import TwoHalves, drawn, two_halves
from xaipipe.testing import SmallVit, images

TARGET = 3


def between_cells(cells: Tensor, step: int, size: tuple[int, int]) -> Tensor:
    """Linear interpolation of cells at 0, step, …; beyond the last its value."""
    rows, columns = cells.shape
    large = torch.zeros(size, dtype=torch.float64)
    for p in range(size[0]):
        for q in range(size[1]):
            y, x = min(p / step, rows - 1), min(q / step, columns - 1)
            i, j = int(y), int(x)
            for di, wy in ((0, 1 - (y - i)), (1, y - i)):
                for dj, wx in ((0, 1 - (x - j)), (1, x - j)):
                    large[p, q] += wy * wx * cells[min(i + di, rows - 1), min(j + dj, columns - 1)]
    return large


def seen_through(net: TwoHalves, x: Tensor) -> Tensor:
    """[N, K]: the score of every image, masked by each map."""
    scores = torch.zeros(len(x), 6, dtype=torch.float64)
    for n, maps in enumerate(net.maps(x).detach()):
        for k, cells in enumerate(maps):
            large = between_cells(cells, 2, (20, 14))
            mask = (large - large.min()) / (large.max() - large.min()) if large.max() > large.min() else 0 * large
            scores[n, k] = net((x[n] * mask)[None])[0, TARGET].detach()
    return scores


def test_scorecam_is_its_formula(net: TwoHalves, x: Tensor) -> None:
    maps, scores = net.maps(x).detach(), seen_through(net, x)
    by_softmax = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
    expected = torch.einsum("nk,nkij->nij", by_softmax, maps).clamp(min=0)[:, None]
    got = xaipipe.explain(net, x, "scorecam", target=TARGET, layer="maps")
    torch.testing.assert_close(got.values, expected, rtol=1e-10, atol=1e-12)
    increase = scores - net(torch.zeros_like(x))[:, [TARGET]].detach()
    expected = torch.einsum("nk,nkij->nij", increase, maps)[:, None]
    got = xaipipe.explain(net, x, "scorecam", target=TARGET, layer="maps", weighting="increase", signed=True)
    torch.testing.assert_close(got.values, expected, rtol=1e-10, atol=1e-12)


def test_ablationcam_is_its_formula(net: TwoHalves, x: Tensor) -> None:
    maps = net.maps(x).detach()
    expected = torch.zeros(2, *maps.shape[2:], dtype=torch.float64)
    for n in range(2):
        whole = net.tail(maps[n : n + 1])[0, TARGET].detach()
        for k in range(6):
            without = maps[n : n + 1].clone()
            without[0, k] = 0
            expected[n] += (whole - net.tail(without)[0, TARGET].detach()) * maps[n, k]
    got = xaipipe.explain(net, x, "ablationcam", target=TARGET, layer="maps", signed=True)
    torch.testing.assert_close(got.values[:, 0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
def test_chunks_make_no_difference_and_keep_to_the_budget(net: TwoHalves, x: Tensor, method: str) -> None:
    sizes: list[int] = []
    net.after.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    explain = partial(xaipipe.explain, net, x, method, target=TARGET, layer="maps")
    whole = explain(budget="1GiB")
    assert max(sizes) > 2
    sizes.clear()
    one_by_one = explain(budget=1)
    assert max(sizes) == len(x)
    torch.testing.assert_close(one_by_one.values, whole.values, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
def test_a_map_that_is_nothing_costs_no_trial(x: Tensor, method: str) -> None:
    """One of six, in each of two images."""

    def runs(net: nn.Module) -> int:
        count: list[int] = []
        net.register_forward_hook(lambda *_: count.append(1))
        xaipipe.explain(net, x, method, target=TARGET, layer="maps", budget=1)
        return len(count)

    alive = drawn(TwoHalves())
    assert alive.maps(x).flatten(2).any(dim=2).all()
    assert runs(alive) - runs(two_halves()) == 2


class Joined(nn.Module):
    """The layer's output is joined with what came before it, so that one image cannot stand for many."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.maps = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(8, 4)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        before = self.stem(x).relu()
        answer: Tensor = self.head(self.join(before, self.maps(before).relu()))
        return answer


def pooled(before: Tensor, maps: Tensor) -> Tensor:
    return torch.cat([before, maps], dim=1).mean(dim=(2, 3))


def by_the_size_of_the_batch(before: Tensor, maps: Tensor) -> Tensor:
    return torch.cat([before.mean(dim=(2, 3)).expand(len(maps), -1), maps.mean(dim=(2, 3))], dim=1) * len(before)


def mixed_by_image(before: Tensor, maps: Tensor) -> Tensor:
    """As a model does that gets several frames for each image."""
    frames = maps.view(len(before), -1, *maps.shape[1:])
    mixed = (frames + frames.mean(dim=1, keepdim=True)).flatten(0, 1).mean(dim=(2, 3))
    return torch.cat([before.mean(dim=(2, 3)).expand(len(mixed), -1), mixed], dim=1)


@pytest.mark.parametrize("join", [pooled, mixed_by_image, by_the_size_of_the_batch])
def test_where_one_image_cannot_stand_for_many_each_is_run(join: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    net, x = drawn(Joined(join)), images(1, (20, 14)).double()
    got = xaipipe.explain(net, x, "ablationcam", target=TARGET, layer="maps", signed=True).values
    before = net.stem(x).relu().detach()
    maps = net.maps(before).detach()
    expected = torch.zeros_like(got)
    for k in range(4):
        without = maps.clone()
        without[0, k] = 0
        both = [net.head(join(before, m.relu()))[0, TARGET].detach() for m in (maps, without)]
        expected += (both[0] - both[1]) * maps[:, k : k + 1]
    if join is not by_the_size_of_the_batch:  # whose scores depend on how many images there are
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    assert torch.isfinite(got).all()


@pytest.mark.parametrize("method", ["scorecam", "ablationcam", "gradcam", "eigencam"])
def test_tokens_are_maps_too(method: str) -> None:
    params = {} if method == "eigencam" else {"signed": True}
    got = xaipipe.explain(SmallVit(), images(1), method, target=1, **params)
    assert got.values.shape[2] > 1
    assert np.isfinite(got.values.numpy()).all()
    assert float(got.values.abs().max()) > 0


class Viewing(nn.Module):
    """`view` wants memory in another order than channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 4, 3, stride=4)
        self.head = nn.Linear(4 * 5 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.maps(x).view(len(x), -1))
        return answer


def test_a_model_that_wants_its_pixels_in_order_gets_them() -> None:
    net, x = drawn(Viewing()), images(1, (20, 16)).double()
    maps = net.maps(x).detach()
    got = xaipipe.explain(net, x, "scorecam", target=TARGET, layer="maps", weighting="increase", signed=True)
    large = xaipipe.to_pixels(maps, got.grid, (20, 16))
    low, high = large.amin(dim=(2, 3), keepdim=True), large.amax(dim=(2, 3), keepdim=True)
    masked = x * ((large - low) / (high - low))[0][:, None]
    increase = (net(masked) - net(torch.zeros_like(x)))[:, TARGET].detach()
    torch.testing.assert_close(got.values[0, 0], torch.einsum("k,kij->ij", increase, maps[0]), rtol=1e-10, atol=1e-12)
