"""Every method against its formula, in float64; on networks for which one knows the answer; and all targets at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import xaipipe
from tests.cam.definitions import DEFINITIONS
from tests.cam.networks import PooledNet, TwoHalves, drawn
from xaipipe.testing import LinearModel, SmallCnn, images

TARGET = 3


def halves(net: TwoHalves, x: Tensor, target: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(A, g) of each image, the gradient column by column of the tail's Jacobian."""
    found = []
    for one in net.maps(x).detach():
        jacobian = torch.autograd.functional.jacobian(lambda maps: net.tail(maps[None])[0, target], one)
        found.append((one.numpy(), jacobian.numpy()))
    return found


@pytest.mark.parametrize("method", DEFINITIONS)
def test_every_method_is_its_formula(net: TwoHalves, x: Tensor, method: str) -> None:
    got = xaipipe.explain(net, x, method=method, target=TARGET, layer="maps")
    expected = np.stack([DEFINITIONS[method](A, g) for A, g in halves(net, x, TARGET)])
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(got.values[:, 0].numpy(), expected, rtol=1e-10, atol=1e-12)
    assert got.grid == xaipipe.Grid((2.0, 2.0), (0.0, 0.0))


@pytest.mark.parametrize("method", ["gradcam", "counterfactual_gradcam", "gradcam_pp", "xgradcam", "layercam"])
def test_signed_maps_are_those_without_the_relu(net: TwoHalves, x: Tensor, method: str) -> None:
    signed = xaipipe.explain(net, x, method=method, target=TARGET, layer="maps", signed=True).values
    cut = xaipipe.explain(net, x, method=method, target=TARGET, layer="maps").values
    torch.testing.assert_close(cut, signed.clamp(min=0), rtol=0, atol=0)


@pytest.mark.parametrize("method", ["eigencam", "eigengradcam"])
def test_centred_components_are_of_what_varies(net: TwoHalves, x: Tensor, method: str) -> None:
    got = xaipipe.explain(net, x, method=method, target=TARGET, layer="maps", centred=True).values[:, 0].numpy()
    for image, (A, g) in enumerate(halves(net, x, TARGET)):
        maps = A if method == "eigencam" else g * A
        expected = DEFINITIONS["eigencam"](maps - maps.mean(axis=(1, 2), keepdims=True), g)
        np.testing.assert_allclose(np.abs(got[image]), np.abs(expected), rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(got[image].mean(), 0, atol=1e-10)


def test_gradcam_of_a_pooled_net_is_cam_over_the_number_of_cells(x: Tensor) -> None:
    net = drawn(PooledNet())
    maps = net.maps(x).detach()
    expected = torch.einsum("k,nkij->nij", net.head.weight[TARGET].detach(), maps)[:, None]
    cam = xaipipe.explain(net, x, method="cam", target=TARGET)
    torch.testing.assert_close(cam.values, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(cam.values.mean(dim=(1, 2, 3)), cam.scores - net.head.bias[TARGET].detach())
    gradcam = xaipipe.explain(net, x, method="gradcam", target=TARGET, layer="maps", signed=True)
    cells = maps.shape[2] * maps.shape[3]
    torch.testing.assert_close(gradcam.values, expected / cells, rtol=1e-12, atol=1e-15)
    hires = xaipipe.explain(net, x, method="hirescam", target=TARGET, layer="maps")
    torch.testing.assert_close(hires.values, expected / cells, rtol=1e-12, atol=1e-15)


def test_signed_xgradcam_sums_to_gradient_times_activation(net: TwoHalves, x: Tensor) -> None:
    got = xaipipe.explain(net, x, method="xgradcam", target=TARGET, layer="maps", signed=True).values
    expected = [(A * g).sum() for A, g in halves(net, x, TARGET)]
    np.testing.assert_allclose(got.sum(dim=(1, 2, 3)).numpy(), expected, rtol=1e-10)


def test_weights_of_gradcam_pp_stay_finite_where_powers_of_the_gradient_vanish() -> None:
    """In float32 the square of a gradient of 1e-25 is 0."""
    net, x = SmallCnn(), images(1)

    def faint(outputs: Tensor) -> Tensor:
        return outputs[:, 1] * 1e-25

    plain = xaipipe.explain(net, x, method="gradcam_pp", target=faint).values
    wide = xaipipe.explain(SmallCnn().double(), x.double(), method="gradcam_pp", target=faint).values
    assert float(plain.max()) > 0
    torch.testing.assert_close(plain.double() * 1e25, wide * 1e25, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [*DEFINITIONS, "cam"])
def test_all_classes_come_from_one_forward_pass(method: str) -> None:
    net, x = SmallCnn().double(), images(2).double()
    passes = []
    net.register_forward_hook(lambda *_: passes.append(1))
    targets = [0, 1, 2, "predicted"]
    xaipipe.explain(net, x, method=method, target=0)  # finds where the layer lies
    passes.clear()
    together = xaipipe.explain(net, x, method=method, target=targets)
    assert len(passes) == 1
    for target, got in zip(targets, together, strict=True):
        alone = xaipipe.explain(net, x, method=method, target=target)
        torch.testing.assert_close(got.values, alone.values, rtol=1e-12, atol=1e-14)
        assert got.targets == alone.targets


def test_gradients_are_right_for_single_images_with_channels_last() -> None:
    """In front of a batch norm, where torch's own gradient is not, on the CPU."""
    net, x = SmallCnn().double(), images(1, (24, 40)).double()
    expected = xaipipe.explain(net, x, method="hirescam", layer="stem", target=1).values
    last = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(xaipipe.explain(*last, method="hirescam", layer="stem", target=1).values, expected)


def test_layer_may_be_named_or_handed_over() -> None:
    model, x = SmallCnn(), images(1)
    by_name = xaipipe.explain(model, x, method="gradcam", target=1, layer="block")
    by_module = xaipipe.explain(model, x, method="gradcam", target=1, layer=model.block)
    assert by_name.values.equal(by_module.values)
    assert by_name.diagnostics["layer"] == by_module.diagnostics["layer"] == "block"


def test_layer_without_maps_is_refused() -> None:
    with pytest.raises(xaipipe.UsageError, match="no spatial output"):
        xaipipe.explain(SmallCnn(), images(1), method="gradcam", layer="head")


def test_cam_of_another_head_names_what_to_use_instead() -> None:
    with pytest.raises(xaipipe.UsageError) as caught:
        xaipipe.explain(LinearModel(), images(1, (32, 24)), method="cam", target=1)
    assert str(caught.value) == (
        "cam is for networks in which only a global average pooling and a linear layer follow the maps\n"
        "  got: behind layer 'maps': linear\n"
        "  where: LinearModel\n"
        "  next: use gradcam, which gives the same map where cam has one, or name the layer that is pooled"
    )
