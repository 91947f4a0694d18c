"""Postprocessors: the contract, and the exact answer of each."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from xaipipe import Pipeline, UsageError
from xaipipe.display import Style
from xaipipe.testing import PostprocessorContract, random_map
from xaipipe_postprocess.overlay import Overlay
from xaipipe_postprocess.percentile_clip import PercentileClip
from xaipipe_postprocess.relu import Relu
from xaipipe_postprocess.smooth import Smooth


class TestRelu(PostprocessorContract):
    method = Relu


class TestSmooth(PostprocessorContract):
    method = Smooth


class TestSmoothNarrow(PostprocessorContract):
    method = Smooth
    params: ClassVar = {"sigma": 0.3}


class TestSmoothWide(PostprocessorContract):
    method = Smooth
    params: ClassVar = {"sigma": 3.7}


def test_relu_keeps_what_is_positive() -> None:
    explanation = random_map()
    values = explanation.values
    assert Relu().apply(explanation).values.equal(torch.where(values > 0, values, torch.zeros(())))


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_smooth_is_the_normalised_gaussian_filter(sigma: float) -> None:
    explanation = random_map(channels=1)
    values, valid = explanation.values.double(), explanation.valid
    assert valid is not None
    got = Smooth(sigma=sigma).apply(explanation.replace(values=values)).values[0, 0].numpy()
    weight = gaussian_filter(valid[0].double().numpy(), sigma, mode="constant")
    blurred = gaussian_filter((values[0, 0] * valid[0]).numpy(), sigma, mode="constant")
    present = valid[0].numpy()
    np.testing.assert_allclose(got[present], blurred[present] / weight[present], rtol=1e-10, atol=1e-12)


def test_smooth_leaves_a_flat_map_flat() -> None:
    explanation = random_map(channels=1)
    assert explanation.valid is not None
    flat = explanation.valid[:, None].double() * 3
    got = Smooth(sigma=2.0).apply(explanation.replace(values=flat)).values
    torch.testing.assert_close(got, flat, rtol=1e-12, atol=0)


class TestPercentileClip(PostprocessorContract):
    method = PercentileClip


class TestOverlay(PostprocessorContract):
    method = Overlay


def test_what_is_for_pictures_leaves_values_and_says_how_they_are_shown() -> None:
    explanation = random_map()
    shown = Overlay(colours="viridis", opacity=0.5).apply(PercentileClip(percentile=90).apply(explanation))
    assert shown.values.equal(explanation.values)
    assert Style.of(shown) == Style("viridis", 0.5, 90, legend=True)


def test_a_run_refuses_what_is_for_pictures(slide_file: Path, run_file: Path, tmp_path: Path) -> None:
    run_file.write_text(run_file.read_text() + '[[postprocess]]\nmethod = "overlay"\n')
    with pytest.raises(UsageError, match=r"'overlay' says how a picture is drawn, and a run draws none\n.*--perc"):
        Pipeline.from_toml(run_file, trust=True).run(slide_file, tmp_path / "out.zarr")
