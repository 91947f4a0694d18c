"""What is said of a network's operators, against what gradients show of the cells that are pooled."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.running.networks import LOCAL, NOT_LOCAL, made
from xaipipe.models.locality import Pool, trace_locality
from xaipipe.models.model import Model
from xaipipe.models.whole import WholeImage, pool_sums, pooled_cells

SIZE = 96
IMAGES = 12


def images() -> torch.Tensor:
    return torch.randn(IMAGES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def seen_by(net: nn.Module, pool: Pool, cell: tuple[int, int]) -> list[tuple[int, int]]:
    """The first and the last pixel along y and x that a pooled cell's gradient reaches, over all images."""
    x = images().requires_grad_()
    y_axis, x_axis = pool.axes
    kept: list[torch.Tensor] = []

    class Keep(torch.overrides.TorchFunctionMode):
        calls = -1

        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            from xaipipe.models.operators import pooled_dimensions

            if pooled_dimensions(func.__name__, args, kwargs or {}) is not None:
                self.calls += 1
                if self.calls == pool.call:
                    kept.append(args[0])
            return func(*args, **(kwargs or {}))

    with Keep():
        net(x)
    one = kept[0].movedim((y_axis, x_axis), (2, 3))[:, :, cell[0], cell[1]]
    weights = torch.randn(one.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((one * weights).sum(), x)
    reached = gradient.abs().sum(dim=(0, 1)) > 0
    spans = []
    for axis in (0, 1):
        along = reached.any(dim=1 - axis).nonzero()[:, 0]
        spans.append((int(along[0]), int(along[-1])))
    return spans


@pytest.mark.parametrize("name", LOCAL)
def test_a_pooled_cell_sees_what_the_operators_say(name: str) -> None:
    net = made(LOCAL[name])
    locality = trace_locality(net, images()[:1])
    assert not locality.obstacles
    for pool in locality.pools:
        cell = (pool.cells[0] // 2, pool.cells[1] // 2)
        for axis, (first, last) in enumerate(seen_by(net, pool, cell)):
            centre = pool.field.offset[axis] + cell[axis] * pool.field.scale[axis]
            reach = (pool.field.receptive[axis] - 1) / 2
            stated = (round(centre - reach), round(centre + reach))
            if name == "transposed":  # of four neighbours that see different windows, one
                assert stated[0] <= first <= last <= stated[1]
            else:
                assert (first, last) == stated, f"axis {axis}"


@pytest.mark.parametrize("name", LOCAL)
def test_tiles_have_to_begin_at_multiples_of_every_stride(name: str) -> None:
    locality = trace_locality(made(LOCAL[name]), images()[:1])
    for pool in locality.pools:
        assert locality.stride[0] % pool.field.scale[0] == 0
        assert locality.stride[1] % pool.field.scale[1] == 0


@pytest.mark.parametrize("name", NOT_LOCAL)
def test_what_is_not_local_is_named(name: str) -> None:
    build, operator = NOT_LOCAL[name]
    obstacles = trace_locality(made(build), images()[:1]).obstacles
    assert any(operator.split()[0] in obstacle for obstacle in obstacles)


def test_dropout_and_batch_norm_count_as_they_run() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = net.double()
    assert trace_locality(net.eval(), images()[:1]).obstacles == ()
    assert trace_locality(net.train(), images()[:1]).obstacles == ("batch_norm",)


@pytest.mark.parametrize("name", LOCAL)
def test_shares_of_a_pooling_add_up_forwards_and_backwards(name: str) -> None:
    """Two halves of the cells of one image: sums add to the pooling's, gradients to the whole's."""
    net, x = made(LOCAL[name]), images()[:1]
    pools = trace_locality(net, x).pools
    everything = [(slice(0, pool.cells[0]), slice(0, pool.cells[1])) for pool in pools]
    halves = [[(rows, slice(0, 5)) for rows, _ in everything], [(rows, slice(5, None)) for rows, _ in everything]]
    sums = [pool_sums(Model(net), pools, half, x) for half in halves]
    totals = [a[0] + b[0] for a, b in zip(*sums, strict=True)]
    counts = [pool.cells[0] * pool.cells[1] for pool in pools]
    want = x.clone().requires_grad_()
    score = net(want)[0, 1]
    score.backward()
    total = torch.zeros_like(x)
    for half in halves:
        part = x.clone().requires_grad_()
        model = WholeImage.of_share(Model(net), pools, totals, counts, half)
        outputs = model.outputs(part)
        torch.testing.assert_close(outputs, net(x), rtol=1e-12, atol=1e-12)
        (gradient,) = torch.autograd.grad(outputs[:, 1].sum(), part)
        total += gradient
    torch.testing.assert_close(total, want.grad, rtol=1e-11, atol=1e-15)


def test_pooled_cells_are_those_of_the_share() -> None:
    net, x = made(LOCAL["strided"]), images()[:2]
    pools = trace_locality(net, x).pools
    (all_cells,) = pooled_cells(Model(net), pools, [(slice(None), slice(None))], x)
    (some,) = pooled_cells(Model(net), pools, [(slice(2, 4), slice(1, 7))], x)
    torch.testing.assert_close(some, all_cells[:, :, 2:4, 1:7], rtol=0, atol=0)


def test_a_pooling_keeps_the_precision_that_it_was_given() -> None:
    """A mean in double precision of maps in single."""

    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.conv(x).mean((2, 3), dtype=torch.float64))

    net, x = Careful(), images()[:1].float().requires_grad_()
    pools = trace_locality(net, x).pools
    everything = [(slice(None), slice(None))]
    totals = [sums[0] for sums in pool_sums(Model(net), pools, everything, x)]
    model = WholeImage.of_share(Model(net), pools, totals, [pools[0].cells[0] * pools[0].cells[1]], everything)
    outputs = model.outputs(x)
    torch.testing.assert_close(outputs, net(x), rtol=1e-6, atol=1e-6)
    (got,), (want,) = (torch.autograd.grad(answer[:, 1].sum(), x) for answer in (outputs, net(x)))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-9)
