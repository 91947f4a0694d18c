"""References: what each name means, which tensors fit, and what is said of those that do not."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage
from torch import Tensor

from xaipipe import Params, UsageError
from xaipipe.propagation.references import Reference, References, reference_for, references_for
from xaipipe.testing import images


class Asked(Params):
    reference: Reference = "zeros"
    references: References = torch.zeros(1, 1, 1, 1)


def parsed(value: object) -> Tensor | str:
    return Asked.parse({"reference": value}, "here").reference


def test_zeros_and_mean() -> None:
    x = images(2, (6, 5)) + torch.tensor([1.0, 5.0])[:, None, None, None]
    assert not reference_for(parsed("zeros"), x).any()
    mean = reference_for(parsed("mean"), x)
    torch.testing.assert_close(mean, x.mean(dim=(2, 3), keepdim=True).expand_as(x))


def test_mean_of_many_halves_does_not_overflow() -> None:
    x = torch.full((1, 3, 300, 300), 60.0, dtype=torch.float16)
    assert reference_for("mean", x).equal(x)


@pytest.mark.parametrize("size", [(40, 60), (3, 50), (1, 1)])
def test_blurred_is_a_gaussian_of_a_twentieth_of_the_shorter_side(size: tuple[int, int]) -> None:
    x = images(2, size).double()
    sigma = min(size) / 20
    reach = max(1, int(torch.tensor(3 * sigma).ceil()))
    want = ndimage.gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=(0, 0, reach, reach))
    torch.testing.assert_close(reference_for("blurred", x), torch.from_numpy(want), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 6, 5), (1, 3, 6, 5), (2, 3, 6, 5)])
def test_tensors_of_one_image_or_one_each(shape: tuple[int, ...]) -> None:
    x, given = images(2, (6, 5)), torch.rand(shape, dtype=torch.float64)
    got = reference_for(parsed(given), x)
    assert got.dtype == x.dtype
    assert got.equal(given.float().expand_as(x))


def test_a_colour_is_the_same_everywhere() -> None:
    x = images(2, (6, 5))
    got = reference_for(parsed([0.5, -1, 2]), x)
    assert got.dtype == x.dtype
    assert got.equal(torch.tensor([0.5, -1, 2])[:, None, None].expand_as(x))


def test_a_distribution_of_colours() -> None:
    chosen = Asked.parse({"references": [[0.5, -1, 2], [0, 0, 1]]}, "here").references
    want = torch.tensor([[0.5, -1, 2], [0, 0, 1]])[:, :, None, None].expand(2, 3, 6, 5)
    assert references_for(chosen, images(4, (6, 5))).equal(want)


def test_a_colour_that_does_not_fit_the_channels() -> None:
    with pytest.raises(UsageError, match=r"2 numbers\n  expected: 3: one a channel"):
        reference_for(parsed([1, 2]), images(2, (6, 5)))


def test_a_distribution_is_the_same_for_all_images() -> None:
    given = torch.rand(7, 3, 6, 5, dtype=torch.float64)
    chosen = Asked.parse({"references": given}, "here").references
    assert references_for(chosen, images(2, (6, 5))).equal(given.float())


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 5, 6), "another shape than the images"),
        ((1, 6, 5), "another shape than the images"),
        ((3, 3, 6, 5), "another number of images"),
    ],
)
def test_a_tensor_that_does_not_fit_the_images(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        reference_for(parsed(torch.zeros(shape)), images(2, (6, 5)))


def test_a_distribution_that_does_not_fit_the_images() -> None:
    with pytest.raises(UsageError, match=r"\(3, 4, 4\)\n  expected: \(3, 6, 5\)"):
        references_for(torch.zeros(7, 3, 4, 4), images(2, (6, 5)))


@pytest.mark.parametrize("value", [[], [[]], [1.0, 2.0, 3.0], [[1.0, 2.0, 3.0], [1.0]], [[float("nan")]]])
def test_what_is_no_distribution_of_colours(value: object) -> None:
    with pytest.raises(UsageError, match=r"one colour or more|a finite number for each channel"):
        Asked.parse({"references": value}, "here")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("zero", "did you mean 'zeros'?"),
        (0, "a floating point tensor"),
        ([], "a finite number for each channel"),
        ([1, "red"], "a finite number for each channel"),
        ([[1.0, 2.0, 3.0]], "a finite number for each channel"),
        ([1.0, float("inf"), 0.0], "a finite number for each channel"),
        (torch.zeros(6, 5), r"this one is \(6, 5\) torch.float32"),
        (torch.zeros(3, 6, 5, dtype=torch.uint8), "torch.uint8"),
        (torch.zeros(0, 3, 6, 5), r"\(0, 3, 6, 5\)"),
        (torch.full((3, 6, 5), float("nan")), "NaN or infinity"),
    ],
)
def test_what_is_no_reference(value: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parsed(value)
    if isinstance(value, Tensor) and value.ndim == 4:
        with pytest.raises(UsageError, match=said):
            Asked.parse({"references": value}, "here")
