"""Postprocessors: the contract, and the exact answer of each."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from xaipipe.testing import PostprocessorContract, random_map
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
