"""What can be asked of a model: targets, questions, and references to compare with."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from xaipipe import InputError, Question, Similarity, Target, UsageError

MASK = torch.ones(4, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("value", "parsed"), [(3, 3), ("3", 3), ("-1", -1), (np.int64(3), 3), ("dog", "dog"), ("²", "²"), ("--1", "--1")]
)
def test_digits_are_an_index_and_the_rest_is_a_label(value: Any, parsed: Any) -> None:
    assert TypeAdapter(Target).validate_python(value) == parsed
    assert Question(value).target == parsed


@pytest.mark.parametrize("value", [True, 1.5, None, np.array([1, 2])])
def test_what_names_no_output_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="a class index, a label, 'predicted', 'norm', or a callable"):
        TypeAdapter(Target).validate_python(value)
    with pytest.raises(UsageError, match="a target that it cannot take\n  expected: a class index"):
        Question(value)


@pytest.mark.parametrize("value", [[1], [1, 2], (1, "dog")])
def test_several_targets_are_refused_with_the_way_to_ask_them(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"since a map has one; runs and xaipipe\.explain .* take a list"):
        TypeAdapter(Target).validate_python(value)
    with pytest.raises(UsageError, match="one target, since a map has one"):
        Question([1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize("score", ["probabilty", None])
def test_a_score_is_one_of_two(score: Any) -> None:
    with pytest.raises(UsageError, match="a score is a logit or a probability\n  got: ") as caught:
        Question(1, score=score)
    assert ("did you mean 'probability'" in str(caught.value)) == (score is not None)


@pytest.mark.parametrize("within", [MASK.float(), MASK[0], "nowhere", 3])
def test_within_is_everywhere_or_a_mask(within: Any) -> None:
    with pytest.raises(UsageError, match=r"expected: 'everywhere', or a bool tensor \[h, w\] or \[N, h, w\]"):
        Question(1, within=within)


def test_a_question_can_be_asked_of_some_of_the_images() -> None:
    masks = torch.stack([MASK, ~MASK, MASK])
    some = Question((5, 6, 7), "probability", masks).at([2, 0, 0])
    assert (some.target, some.score) == ((7, 5, 5), "probability")
    assert isinstance(some.within, torch.Tensor)
    assert some.within.equal(masks[[2, 0, 0]])


def test_what_is_the_same_for_all_images_stays_as_it_is() -> None:
    shared = Question("dog", within=MASK).at([1, 0, 1])
    assert shared.target == "dog"
    assert shared.within is MASK


def test_a_reference_for_each_image_goes_with_its_image() -> None:
    references = torch.eye(3)
    asked = Question(Similarity(references)).at([2, 2])
    assert isinstance(asked.target, Similarity)
    assert asked.target.reference.equal(references[[2, 2]])
    one = Similarity(references[0])
    assert Question(one).at([0, 0]).target is one


@pytest.mark.parametrize("reference", [torch.tensor([1.0, 2.0, 2.0]), torch.tensor([[1.0, 2.0, 2.0], [3.0, 0.0, 0.0]])])
def test_similarity_is_the_cosine(reference: torch.Tensor) -> None:
    outputs = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    for image in range(2):
        other = reference if reference.ndim == 1 else reference[image]
        expected = outputs[image] @ other / (outputs[image].norm() * other.norm())
        torch.testing.assert_close(Similarity(reference)(outputs)[image], expected)


def test_similarity_does_not_overflow_half_precision() -> None:
    large = torch.full((2, 4096), 100.0, dtype=torch.float16)
    assert Similarity(large[0])(large).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ([1.0, 2.0], r"not an embedding\n  got: \[1.0, 2.0\]\n  expected: finite numbers \[D\]"),
        (torch.tensor([1, 2]), r"not an embedding\n  got: \(2,\) torch.int64"),
        (torch.zeros(2, 2, 2), r"not an embedding\n  got: \(2, 2, 2\)"),
        (torch.tensor([1.0, float("nan")]), "not an embedding"),
        (torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "no direction"),
    ],
)
def test_a_reference_that_is_none_is_refused(reference: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Similarity(reference)


def test_references_are_told_apart_by_their_text() -> None:
    """Long tensors are shortened in theirs, and settings are compared as text."""
    first, second = torch.ones(5000), torch.ones(5000)
    second[2500] += 1e-6
    assert str(Similarity(first)) == str(Similarity(first.clone()))
    assert str(Similarity(first)) != str(Similarity(second))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            torch.ones(2, 4),
            r"does not fit the model's output\n  got: \(3,\)\n[\s\S]*where: an output of shape \(2, 4\)",
        ),
        (
            torch.ones(2, 3, 5),
            r"does not fit the model's output\n  got: \(3,\)\n  expected: that of the output \[N, D\]",
        ),
    ],
)
def test_a_reference_of_another_size_is_refused(outputs: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Similarity(torch.ones(3))(outputs)
