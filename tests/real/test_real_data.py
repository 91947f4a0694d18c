"""A real ImageNet model on a photograph and on a real slide. Skipped where the data is absent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest
import torch
import zarr

import xaipipe
from tests.running.slides import write_tiled
from tests.standards import check_standards
from xaipipe.cli.main import main
from xaipipe.models.sources import ModelSettings, load_model
from xaipipe.slides import open_slide
from xaipipe_tiles.stains.reinhard import Reinhard
from xaipipe_tiles.tiles import Tiles
from xaipipe_tiles.tissue import TISSUE, Search, find_tissue

DOG = (slice(16, 96), slice(64, 128))
CAT = (slice(96, 180), slice(40, 150))
"""Where they are in the picture at 192 × 192: (rows, columns)."""


@pytest.fixture(scope="module")
def model(data: Path) -> xaipipe.Model:
    settings = ModelSettings(
        source="models/mobilenets.py:mobilenet_v1",
        weights="models/mobilenet_v1_075_imagenet.safetensors",
        labels="models/imagenet_labels.txt",
    )
    model = load_model(settings, trust=True, base=data)
    return replace(model, preprocess=xaipipe.Preprocess(size=192, mean=(0, 0, 0), std=(1, 1, 1)))


@pytest.fixture
def both(model: xaipipe.Model, data: Path, registry: xaipipe.Registry) -> torch.Tensor:
    """Dog and cat in one picture, as the network sees it."""
    with closing(open_slide(registry, data / "images" / "both.png")) as photograph:
        level = photograph.levels[0]
        pixels = photograph.read(0, 0, 0, level.height, level.width)
    return model.preprocess.normalise(model.preprocess.fit_photograph(pixels))[None].double()


@pytest.mark.parametrize("method", ["gradcam", "cam", "xgradcam", "hirescam", "ablationcam", "augmentation_smoothing"])
def test_each_class_is_seen_on_its_animal(model: xaipipe.Model, both: torch.Tensor, method: str) -> None:
    labels = {"bull mastiff": DOG, "tiger cat": CAT}
    each = xaipipe.explain(model, both.float(), method, target=list(labels))
    for explanation, (rows, columns) in zip(each, labels.values(), strict=True):
        heat = explanation.to_input()[0, 0].numpy()
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        assert rows.start <= row < rows.stop
        assert columns.start <= column < columns.stop


def test_where_maps_lie_beside_an_animal_their_formulas_say_so(model: xaipipe.Model, both: torch.Tensor) -> None:
    """Without the weights below zero the dog is brighter than the cat, of which it shares features, when that is asked.

    A global mean and a linear layer follow the maps, so that the gradient is the weights over the number of cells.
    """
    network = replace(model, module=deepcopy(model.module).double())
    with torch.no_grad():
        maps = network.module.features(network.module.normalise(both))[0]
    slope = network.module.classifier.weight.detach()[model.labels.index("tiger cat")][:, None, None] / maps[0].numel()
    share = slope.square() / (2 * slope.square() + maps.sum(dim=(1, 2), keepdim=True) * slope**3)
    products = (slope * maps).flatten(1)
    direction = torch.linalg.eigh(products @ products.T).eigenvectors[:, -1]
    strongest = (direction @ products) * (direction @ products.sum(dim=1)).sign()
    expected = {
        "layercam": (slope.clamp(min=0) * maps).sum(dim=0),
        "gradcam_elementwise": (slope * maps).clamp(min=0).sum(dim=0),
        "gradcam_pp": (share.nan_to_num() * slope.clamp(min=0) * maps[0].numel() * maps).sum(dim=0),
        "eigengradcam": strongest.reshape(maps.shape[1:]),
    }
    against = (slope.clamp(max=0) * maps).sum(dim=0)
    for method, values in expected.items():
        explanation = xaipipe.explain(network, both, method, target="tiger cat")
        torch.testing.assert_close(explanation.values[0, 0], values, rtol=1e-10, atol=1e-12)
    whole = xaipipe.explain(network, both, "gradcam", target="tiger cat", signed=True)
    torch.testing.assert_close(whole.values[0, 0], expected["layercam"] + against, rtol=1e-10, atol=1e-12)


def test_gradients_on_the_way_of_a_real_network(model: xaipipe.Model, data: Path, registry: xaipipe.Registry) -> None:
    """Integrated gradients account for the score; the curve of the path saturates; what is noisy lies on the dog."""
    with closing(open_slide(registry, data / "images" / "both.png")) as photograph:
        level = photograph.levels[0]
        rgb = photograph.read(0, 0, 0, level.height, level.width)
    x = model.preprocess.normalise(model.preprocess.fit_photograph(rgb))[None]
    whole = xaipipe.explain(model, x, method="integrated_gradients", target="tiger cat")
    (reference,), (gap,) = whole.diagnostics["reference_scores"], whole.diagnostics["completeness_gap"]
    assert abs(gap) < 0.05 * (float(whole.scores) - reference)
    path = xaipipe.explain(model, x, method="counterfactual_path", target="tiger cat", steps=8).diagnostics
    assert max(path["gradient_norms"][0][1:4]) > 2 * path["gradient_norms"][0][-1]
    noisy = xaipipe.explain(model, x, method="smoothgrad_sq", target="bull mastiff", samples=8).values[0].sum(dim=0)
    assert float(noisy[DOG].mean()) > 2 * float(noisy.mean())


@pytest.mark.parametrize("composite", ["epsilon_plus_flat", "epsilon_gamma_box"])
def test_lrp_of_the_cat_moves_to_the_cat(model: xaipipe.Model, both: torch.Tensor, composite: str) -> None:
    """Shares of the positive relevance, against the other target's: each animal has more of it when it is asked for."""
    network = replace(model, module=deepcopy(model.module).double())
    dog, cat = xaipipe.explain(network, both, "lrp", target=["bull mastiff", "tiger cat"], composite=composite)
    shares = {}
    for asked, explanation in (("dog", dog), ("cat", cat)):
        positive = explanation.values[0].sum(dim=0).clamp(min=0)
        for animal, place in (("dog", DOG), ("cat", CAT)):
            shares[asked, animal] = float(positive[place].sum() / positive.sum())
    assert shares["dog", "dog"] > 0.7
    assert shares["dog", "cat"] < 0.1
    assert shares["cat", "cat"] > 1.8 * shares["dog", "cat"]
    assert shares["cat", "dog"] < 0.92 * shares["dog", "dog"]


def test_lrp_of_folded_batch_norms_says_that_biases_keep_the_score(model: xaipipe.Model, both: torch.Tensor) -> None:
    network = replace(model, module=deepcopy(model.module).double())
    for composite in ("epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box", "epsilon_alpha2_beta1_flat"):
        for found in xaipipe.explain(network, both, "lrp", target=["bull mastiff", "tiger cat"], composite=composite):
            score = float(found.scores[0])
            arrived, bias, stabiliser = (found.diagnostics[part][0] for part in ("arrived", "bias", "stabiliser"))
            assert arrived == pytest.approx(float(found.values.sum()), rel=1e-9)
            assert arrived + bias + stabiliser == pytest.approx(score, rel=1e-6)
            if composite in ("epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box"):
                assert bias / score > 0.99


@pytest.mark.parametrize(("label", "own", "other"), [("bull mastiff", DOG, CAT), ("tiger cat", CAT, DOG)])
def test_contrastive_excitation_tells_the_animals_apart(
    model: xaipipe.Model,
    data: Path,
    registry: xaipipe.Registry,
    label: str,
    own: tuple[slice, slice],
    other: tuple[slice, slice],
) -> None:
    photograph = open_slide(registry, data / "images" / "both.png")
    level = photograph.levels[0]
    x = model.preprocess.normalise(model.preprocess.fit_photograph(photograph.read(0, 0, 0, level.height, level.width)))
    found = xaipipe.explain(
        model, x[None], method="excitation_backprop", target=label, layer="features", contrastive=True
    )
    heat = found.to_input()[0].sum(dim=0)
    assert float(heat[own].mean()) > 0 > float(heat[other].mean())


def test_a_real_slide_runs_end_to_end(model: xaipipe.Model, data: Path, tmp_path: Path) -> None:
    tables = {
        "load": {"tile": 192, "overlap": 64},
        "explain": {"method": "gradcam", "target": "honeycomb"},
        "postprocess": [{"method": "smooth"}],
        "segment": [{"method": "threshold"}, {"method": "components"}],
        "store": {"shard": 1024, "image": "copy"},
    }
    slide = data / "slides" / "cmu-1-small-region.svs"
    summary = xaipipe.Pipeline(tables, model=model).run(slide, tmp_path / "out.zarr")
    root = zarr.open_group(tmp_path / "out.zarr", mode="r")
    assert check_standards(tmp_path / "out.zarr") == ["image", "raw", "heatmap", "heatmap_display"]
    values = root["heatmap/0"][:]
    assert summary.tiles > 0
    assert np.isfinite(values).any()
    assert np.nanmax(values) > 0
    pixels = root["image/0"][:, 1000:1064, 1000:1064]
    expected = open_slide(xaipipe.Registry(), slide)
    np.testing.assert_array_equal(np.moveaxis(pixels, 0, -1), expected.read(0, 1000, 1000, 64, 64))
    expected.close()
    assert main(["export", str(tmp_path / "out.zarr"), "--to", "qupath", "-o", str(tmp_path / "qp")]) == 0
    with openslide.OpenSlide(slide) as read, openslide.OpenSlide(tmp_path / "qp" / "heatmap-rgb.ome.tif") as heat:
        sides = [float(one.properties["openslide.mpp-x"]) * one.dimensions[0] for one in (read, heat)]
    assert sides[1] == pytest.approx(sides[0], rel=0.02)  # both cover the same micrometres


def test_an_exact_run_of_a_real_slide_equals_one_pass_over_all_of_it(
    model: xaipipe.Model, data: Path, tmp_path: Path
) -> None:
    """Of a part of it, whose odd size shifts the padding of every layer of this network."""
    with closing(open_slide(xaipipe.Registry(), data / "slides" / "cmu-1-small-region.svs")) as slide:
        pixels = slide.read(0, 700, 400, 1203, 1055)
    tables = {
        "explain": {"method": "gradcam", "layer": "features", "target": "predicted"},
        "load": {"tile": 704},
        "store": {"shard": 800},
        "run": {"mode": "exact"},
    }
    part = write_tiled(tmp_path / "part.tif", pixels)
    summary = xaipipe.Pipeline(tables, model=model).run(part, tmp_path / "out.zarr")
    expected = xaipipe.explain(model, model.preprocess.normalise(pixels)[None], method="gradcam", layer="features")
    got = zarr.open_group(tmp_path / "out.zarr", mode="r")["heatmap/0"][:]
    np.testing.assert_allclose(got, expected.values[0], rtol=0, atol=1e-4 * float(expected.values.max()))
    found = summary.findings["whole image"]
    assert found["target"] == model.label(expected.targets[0])
    assert found["score"] == pytest.approx(float(expected.scores[0]), rel=1e-4)


@pytest.fixture
def skin(data: Path, registry: xaipipe.Registry) -> Iterator[xaipipe.Slide]:
    """A strip of skin with dye on its margin."""
    with closing(open_slide(registry, data / "slides" / "cmu-1-small-region.svs")) as slide:
        yield slide


@pytest.mark.parametrize("by", ["saturation", "hed"])
def test_tissue_of_a_real_slide(skin: xaipipe.Slide, by: str) -> None:
    """The dye is no pen mark, and all of it is sharp."""
    mask = find_tissue(skin, Search(by, 50_000, 2_500, pen=True, blur=True))
    assert mask.shares["tissue"] == pytest.approx(0.41, abs=0.02)
    assert mask.shares["pen"] == mask.shares["out of focus"] == 0
    assert (mask.labels[80:120, 60:75] == TISSUE).all()
    assert not mask.labels[80:180, :25].any()


def test_the_reference_of_reinhard_is_this_slide(skin: xaipipe.Slide) -> None:
    stain = Tiles(stain="reinhard").fit(skin, 0).stain
    for name, value in Reinhard.Look().model_dump().items():
        assert getattr(stain.own, name) == pytest.approx(value, abs=2e-3), name
    pixels = skin.read(0, 1200, 900, 256, 256)
    assert np.abs(stain.apply(pixels).astype(int) - pixels).max() <= 2
