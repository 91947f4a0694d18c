"""An exact run gives the map of the whole image, whatever the tiles; what cannot be exact is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import nn

import xaipipe
from tests.running.networks import LOCAL, LOCAL_OR_SLOW, NOT_LOCAL, SIZE_MATTERS, Net, made
from tests.running.slides import write_tiled
from tests.running.whole import Counting, content, difference, noise, tables, tiled, whole, whole_pixels
from xaipipe.running import planning, probing
from xaipipe.running.exact import streaming
from xaipipe.running.run import Run

METHODS: dict[str, dict[str, Any]] = {
    "saliency": {"method": "saliency"},
    "magnitude": {"method": "saliency", "magnitude": True},
    "sensitivity": {"method": "sensitivity"},
    "input_x_gradient": {"method": "input_x_gradient"},
    "gradcam": {"method": "gradcam", "layer": "body", "signed": True},
    "gradcam, an early layer": {"method": "gradcam", "layer": "body.0", "signed": True},
    "counterfactual_gradcam": {"method": "counterfactual_gradcam", "layer": "body.0"},
}
LRP = {"method": "lrp", "composite": "epsilon_plus_flat"}
METHODS |= {
    f"lrp {composite}": {"method": "lrp", "composite": composite}
    for composite in ("epsilon", "epsilon_alpha2_beta1", "epsilon_gamma_box")
}
METHODS["deeplift"] = {"method": "deeplift", "reference": "mean"}
TILINGS = {"small": (64, None), "tiny": (48, 40), "medium": (4096, 96), "one region": (4096, None)}
"""Shard and tile."""


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiled(tmp_path_factory.mktemp("slide") / "noise.tif", noise())


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("method", ["saliency", pytest.param("gradcam", marks=pytest.mark.slow)])
def test_equals_the_whole_image_on_every_network(slide: Path, tmp_path: Path, name: str, method: str) -> None:
    net = made(LOCAL[name])
    got = tiled(net, slide, tmp_path / "out.zarr", tables(METHODS[method]))
    assert difference(got, whole(net, METHODS[method])) < 1e-12


@pytest.mark.parametrize("name", LOCAL_OR_SLOW)
def test_relevance_equals_the_whole_images_on_every_network(slide: Path, tmp_path: Path, name: str) -> None:
    net = made(LOCAL[name])
    got = tiled(net, slide, tmp_path / "out.zarr", tables(LRP))
    assert difference(got, whole(net, LRP)) < 1e-12


def every_method_and_tiling() -> list[Any]:
    """Quick: each method with one tiling, and one method with each."""
    return [
        pytest.param(
            *(method, *numbers),
            marks=() if tiling == "tiny" or method == "input_x_gradient" else pytest.mark.slow,
            id=f"{tiling}-{method}",
        )
        for method in METHODS
        for tiling, numbers in TILINGS.items()
    ]


@pytest.mark.parametrize(("method", "shard", "tile"), every_method_and_tiling())
def test_equals_the_whole_image_by_every_method_and_tiling(
    slide: Path, tmp_path: Path, method: str, shard: int, tile: int | None
) -> None:
    net = made(LOCAL["strided"])
    load = {"tile": tile, "batch": 3} if tile else {"batch": 3}
    settings = tables(METHODS[method], load=load, store={"shard": shard})
    assert difference(tiled(net, slide, tmp_path / "out.zarr", settings), whole(net, METHODS[method])) < 1e-12


def test_cam_equals_the_whole_images_where_the_head_is_linear(slide: Path, tmp_path: Path) -> None:
    net = made(LOCAL["strided"])
    net.head = net.head[0]
    settings = {"method": "cam", "layer": "body"}
    got = tiled(net, slide, tmp_path / "out.zarr", tables(settings, load={"tile": 40, "batch": 3}, store={"shard": 48}))
    assert difference(got, whole(net, settings)) < 1e-12


@pytest.mark.parametrize(
    ("method", "layer", "shard", "tile"),
    [
        ("xgradcam", "body.0", 48, 40),
        ("xgradcam", "body", 4096, None),
        ("hirescam", "body.0", 48, 48),
        ("hirescam", "body", 4096, 96),
        ("layercam", "body.2", 64, None),
        ("gradcam_elementwise", "body.0", 64, None),
    ],
)
def test_cells_that_want_the_whole_images_gradient_get_it(
    slide: Path, tmp_path: Path, method: str, layer: str, shard: int, tile: int | None
) -> None:
    net, settings = made(LOCAL["strided"]), {"method": method, "layer": layer}
    load = {"tile": tile, "batch": 3} if tile else {"batch": 3}
    got = tiled(net, slide, tmp_path / "out.zarr", tables(settings, load=load, store={"shard": shard}))
    assert difference(got, whole(net, settings)) < 1e-12


@pytest.mark.parametrize("name", ["even kernels", "SAME, odd", "reflecting", "two poolings", "a border of its own"])
def test_the_gradient_is_whole_where_cells_lie_otherwise(slide: Path, tmp_path: Path, name: str) -> None:
    net, settings = made(LOCAL[name]), {"method": "hirescam", "layer": "body.0"}
    got = tiled(net, slide, tmp_path / "out.zarr", tables(settings))
    assert difference(got, whole(net, settings)) < 1e-12


def test_several_layers_are_refused_before_anything_is_read(slide: Path, tmp_path: Path) -> None:
    for method in ("gradcam", "hirescam"):
        settings = tables({"method": method, "layer": ["body.0", "body.2"]})
        with pytest.raises(xaipipe.UsageError, match=f"'{method}' explains one layer\n  got: body.0, body.2"):
            tiled(made(LOCAL["strided"]), slide, tmp_path / "out.zarr", settings)
        assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "gradcam", "deeplift"])
def test_single_precision_is_as_exact_as_it_can_be(slide: Path, tmp_path: Path, method: str) -> None:
    net = made(LOCAL["residual"], torch.float32)
    got = tiled(net, slide, tmp_path / "out.zarr", tables(METHODS[method]))
    assert got.dtype == np.float32
    assert difference(got, whole(net, METHODS[method])) < 1e-4


def test_half_precision_runs(slide: Path, tmp_path: Path) -> None:
    net = made(LOCAL["strided"], torch.bfloat16)
    got = tiled(net, slide, tmp_path / "out.zarr", tables(METHODS["saliency"]))
    want = whole(made(LOCAL["strided"]), METHODS["saliency"])
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("method", ["saliency", "gradcam"])
def test_a_probability_is_that_of_the_whole_image(slide: Path, tmp_path: Path, method: str) -> None:
    net, asked = made(LOCAL["strided"]), {**METHODS[method], "score": "probability"}
    got = tiled(net, slide, tmp_path / "out.zarr", tables(asked))
    assert difference(got, whole(net, asked)) < 1e-12
    assert difference(got, whole(net, METHODS[method])) > 0.1


def test_one_of_several_outputs_is_that_of_the_whole_image(slide: Path, tmp_path: Path) -> None:
    net = made(LOCAL["strided"])
    both = Both(net)
    xaipipe.Pipeline(tables(METHODS["saliency"]), model=xaipipe.Model.of(both, output="scores")).run(
        slide, tmp_path / "out.zarr"
    )
    got = zarr.open_group(tmp_path / "out.zarr", mode="r")["heatmap/0"][:]
    assert difference(got, whole(net, METHODS["saliency"])) < 1e-12


@pytest.mark.parametrize("method", ["saliency", "gradcam", "xgradcam", "hirescam"])
def test_memory_is_measured_on_the_largest_tile(
    slide: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles in the middle have margins on all sides; the first one has none on two."""
    measured, read = [], []

    def probed(run: Run, tile: xaipipe.Tile) -> Any:
        measured.append(tile.h * tile.w)
        return probing.probed(run, tile)

    def loaded(run: Run, tiles: tuple[xaipipe.Tile, ...]) -> Any:
        read.append(sum(tile.h * tile.w for tile in tiles))
        return load(run, tiles)

    load = streaming.load
    monkeypatch.setattr(planning, "probed", probed)
    monkeypatch.setattr(streaming, "load", loaded)
    asked = {"method": method} if method == "saliency" else {"method": method, "layer": "body.0"}
    settings = tables(asked, load={"tile": 64, "batch": 1}, store={"shard": 64})
    tiled(made(LOCAL["strided"]), slide, tmp_path / "out.zarr", settings)
    assert max(read) == measured[0] > min(read)


class Both(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.net(x)
        return {"twice": 2 * scores, "scores": scores}


@pytest.mark.parametrize("name", NOT_LOCAL)
def test_what_cannot_be_exact_is_refused_by_the_operators_name(slide: Path, tmp_path: Path, name: str) -> None:
    build, operator = NOT_LOCAL[name]
    with pytest.raises(xaipipe.UsageError, match=rf"cannot be explained exactly[\s\S]*{operator}") as caught:
        tiled(made(build), slide, tmp_path / "out.zarr", tables(METHODS["saliency"]))
    assert 'mode = "approximate"' in str(caught.value)
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize("name", SIZE_MATTERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=["float64", "bfloat16"])
def test_what_depends_on_the_size_of_a_tile_is_refused(
    slide: Path, tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    build, says = SIZE_MATTERS[name]
    with pytest.raises(xaipipe.UsageError, match=rf"cannot be explained exactly[\s\S]*{says}"):
        tiled(made(build, dtype), slide, tmp_path / "out.zarr", tables(METHODS["saliency"]))


def test_a_map_that_goes_beyond_the_last_shard_is_refused(slide: Path, tmp_path: Path) -> None:
    net = made(lambda: Net(nn.Sequential(nn.ZeroPad2d(9), nn.Conv2d(3, 8, 3))))
    settings = tables(METHODS["gradcam"], load={"tile": 40})
    with pytest.raises(xaipipe.UsageError, match="map goes beyond the image"):
        tiled(net, slide, tmp_path / "out.zarr", settings)


def test_the_network_itself_is_checked_not_only_its_operators(slide: Path, tmp_path: Path) -> None:
    """Its operators are local, but what they compute depends on how much they are given."""

    class Cheat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, 1, 1)
            self.head = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head((self.conv(x) * x.shape[2]).mean((2, 3)))

    with pytest.raises(xaipipe.UsageError, match="its maps change by"):
        tiled(Cheat().double().eval(), slide, tmp_path / "out.zarr", tables(METHODS["saliency"]))


def test_a_method_that_does_not_say_how_shares_add_up_is_refused(slide: Path, tmp_path: Path) -> None:
    class Own(xaipipe.Explainer):
        name = "own"

        def explain(self, batch: xaipipe.Batch, model: xaipipe.Model) -> xaipipe.Explanation:
            raise AssertionError("not called")

    registry = xaipipe.Registry()
    registry._methods["explain", "own"] = (Own, "test")
    pipeline = xaipipe.Pipeline(tables({"method": "own"}), model=made(LOCAL["strided"]), registry=registry)
    with pytest.raises(xaipipe.UsageError, match="'own' cannot be exact"):
        pipeline.run(slide, tmp_path / "out.zarr")


@pytest.mark.parametrize(
    ("load", "says"),
    [
        ({"overlap": 8}, "overlap follows from the network"),
        ({"tile": 8}, "tile is too small"),
        ({"tissue": "on"}, "explains the whole image, background too"),
    ],
)
def test_settings_that_contradict_an_exact_run_are_refused(
    slide: Path, tmp_path: Path, load: dict[str, Any], says: str
) -> None:
    with pytest.raises(xaipipe.UsageError, match=says):
        tiled(made(LOCAL["strided"]), slide, tmp_path / "out.zarr", tables(METHODS["saliency"], load=load))


def test_result_says_how_it_was_made_and_what_the_model_says_of_the_whole(slide: Path, tmp_path: Path) -> None:
    net = made(LOCAL["strided"])
    x = whole_pixels()
    for mode in ("exact", "approximate"):
        settings = tables(METHODS["gradcam"], run={"mode": mode})
        xaipipe.Pipeline(settings, model=net).run(slide, tmp_path / f"{mode}.zarr")
        said = zarr.open_group(tmp_path / f"{mode}.zarr", mode="r").attrs["xaipipe"]
        assert said["mode"].startswith(f"{mode}:")
        if mode == "exact":
            assert said["findings"]["whole image"]["score"] == pytest.approx(float(net(x)[0, 1].detach()), abs=1e-12)
            assert said["findings"]["whole image"]["target"] == "1"


def test_what_is_doubtful_of_the_pixels_is_said_once(slide: Path, tmp_path: Path) -> None:
    method = {"method": "lrp", "composite": "epsilon_gamma_box", "low": [-1.0], "high": [1.0]}
    with pytest.warns(
        xaipipe.ExplanationWarning, match=r"not between the bounds[\s\S]*tiles: \d+ are doubtful"
    ) as told:
        tiled(made(LOCAL["strided"]), slide, tmp_path / "out.zarr", tables(method))
    assert len(told) == 1
    assert zarr.open_group(tmp_path / "out.zarr", mode="r").attrs["xaipipe"]["diagnostics"]["doubts"]


def test_a_network_that_sees_further_than_its_size_is_looked_at_on_a_larger_tile(slide: Path, tmp_path: Path) -> None:
    net = made(lambda: Net(nn.Conv2d(3, 8, 41, 2)))
    got = tiled(net, slide, tmp_path / "out.zarr", tables(METHODS["saliency"]))
    assert difference(got, whole(net, METHODS["saliency"])) < 1e-12


def test_predicted_is_the_class_of_the_whole_image(slide: Path, tmp_path: Path) -> None:
    net = made(LOCAL["strided"])
    x = whole_pixels()
    predicted = int(net(x).argmax())
    settings = tables({**METHODS["saliency"], "target": "predicted"})
    got = tiled(net, slide, tmp_path / "out.zarr", settings)
    want = xaipipe.explain(net, x, method="saliency", target=predicted).values[0].numpy()
    assert difference(got, want) < 1e-12


def test_later_stages_see_the_whole_images_map(slide: Path, tmp_path: Path) -> None:
    later = {"postprocess": [{"method": "smooth", "sigma": 1.5}], "segment": [{"method": "threshold"}]}
    net = made(LOCAL["strided"])
    for shard in (64, 4096):
        settings = tables({"method": "saliency", "magnitude": True}, store={"shard": shard}, **later)
        xaipipe.Pipeline(settings, model=net).run(slide, tmp_path / f"{shard}.zarr")
    small, large = (zarr.open_group(tmp_path / f"{shard}.zarr", mode="r") for shard in (64, 4096))
    np.testing.assert_allclose(small["heatmap/0"][:], large["heatmap/0"][:], rtol=1e-9, atol=1e-12)
    labels = "heatmap/labels/segmentation/0"
    np.testing.assert_array_equal(small[labels][:], large[labels][:])


def test_a_run_that_dies_in_any_pass_goes_on_where_it_was(slide: Path, tmp_path: Path) -> None:
    gradcam = {"method": "gradcam", "layer": "net.body", "signed": True}
    settings = tables(gradcam, run={"mode": "exact", "readers": 1})
    undisturbed = Counting(made(LOCAL["strided"]))
    xaipipe.Pipeline(settings, model=undisturbed).run(slide, tmp_path / "straight.zarr")
    planning = Counting(made(LOCAL["strided"]))
    xaipipe.Pipeline(settings, model=planning).prepare(slide).plan.tiling.slide.close()
    for share in (0.1, 0.4, 0.6, 0.9):
        output = tmp_path / f"{share}.zarr"
        die_at = planning.calls + round(share * (undisturbed.calls - planning.calls))
        with pytest.raises(KeyboardInterrupt):
            xaipipe.Pipeline(settings, model=Counting(made(LOCAL["strided"]), die_at)).run(slide, output)
        again = Counting(made(LOCAL["strided"]))
        xaipipe.Pipeline(settings, model=again).run(slide, output, resume=True)
        assert content(output) == content(tmp_path / "straight.zarr")
        regions, slack = 9, 12  # what was in flight, the head, layers found for every size of tile
        spent = die_at + again.calls - planning.calls
        assert spent <= undisturbed.calls + (undisturbed.calls - planning.calls) / regions + slack, f"died at {share}"
