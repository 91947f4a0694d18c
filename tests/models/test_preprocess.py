"""Preprocessing: exact, checked, and bounded in memory."""

from typing import Any

import numpy as np
import pytest
import torch

from xaipipe import InputError, Preprocess, UsageError

PLAIN = {"size": 8, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def test_normalising_is_the_definition() -> None:
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    preprocess = Preprocess(size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    expected = (rgb.astype(np.float64) / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    assert np.allclose(preprocess.normalise(rgb).numpy(), np.moveaxis(expected, 2, 0), atol=1e-6)


def test_normalising_a_batch_is_normalising_each() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3), dtype=np.uint8)
    preprocess = Preprocess(size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    assert torch.equal(preprocess.normalise(rgb), torch.stack([preprocess.normalise(one) for one in rgb]))


@pytest.mark.parametrize("shape", [(8, 8), (9, 20), (31, 8), (1, 1), (3, 300)])
@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_a_photograph_of_any_shape_becomes_a_square(shape: tuple[int, int], crop: float) -> None:
    rgb = np.full((*shape, 3), 77, np.uint8)
    fitted = Preprocess(**PLAIN, crop=crop).fit_photograph(rgb)
    assert fitted.shape == (8, 8, 3)
    assert (fitted == 77).all()


def test_the_centre_is_what_the_crop_keeps() -> None:
    rgb = np.zeros((8, 24, 3), np.uint8)
    rgb[:, 8:16] = 200
    assert (Preprocess(**PLAIN).fit_photograph(rgb) == 200).all()


def test_a_photograph_that_would_not_fit_in_memory_is_refused_before_it_is_resized() -> None:
    rgb = np.broadcast_to(np.uint8(0), (1, 10_000_000, 3))
    with pytest.raises(InputError, match="too long and narrow for the model\n  got: 1 × 10000000 pixels"):
        Preprocess(**PLAIN).fit_photograph(rgb)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"std": (0.5, 0.0, 0.5)}, "std.1"),
        ({"std": (0.5, -1.0, 0.5)}, "std.1"),
        ({"mean": (0.5, 0.5)}, "mean.2"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean.2"),
        ({"size": 0}, "size"),
        ({"crop": 0}, "crop"),
        ({"mpp": -1}, "mpp"),
        ({"interpolation": "nearest"}, "interpolation"),
    ],
)
def test_values_that_make_no_sense_are_named(change: dict[str, Any], key: str) -> None:
    with pytest.raises(UsageError, match=rf"parameter '{key}'.*\n(  got.*\n  expected.*\n)?  where: \[preprocess\]"):
        Preprocess.parse(PLAIN | change, "[preprocess]")


@pytest.mark.parametrize("key", ["size", "mean", "std"])
def test_nothing_is_guessed(key: str) -> None:
    with pytest.raises(UsageError, match=f"parameter '{key}' is required"):
        Preprocess.parse({name: value for name, value in PLAIN.items() if name != key}, "[preprocess]")
