"""Targets: by index, label, prediction or callable; what names no output is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from xaipipe import InputError, Target, UsageError
from xaipipe.models.targets import class_index, select

OUTPUTS = torch.tensor([[1.0, 5.0, 2.0], [9.0, 0.0, 3.0]])
LABELS = ("cat", "dog", "bird")


@pytest.mark.parametrize(
    ("target", "scores", "targets"),
    [
        (2, [2.0, 3.0], (2, 2)),
        ("dog", [5.0, 0.0], (1, 1)),
        ("predicted", [5.0, 9.0], (1, 0)),
        (lambda outputs: outputs.sum(dim=1), [8.0, 12.0], ("<lambda>", "<lambda>")),
    ],
)
def test_a_target_selects_one_score_an_image(target: Any, scores: list[float], targets: tuple[Any, ...]) -> None:
    selection = select(OUTPUTS, target, LABELS)
    assert selection.scores.tolist() == scores
    assert selection.targets == targets


@pytest.mark.parametrize("target", [1, "dog", "predicted", lambda outputs: outputs[:, 1]])
def test_scores_are_differentiable(target: Any) -> None:
    outputs = OUTPUTS.clone().requires_grad_()
    select(outputs, target, LABELS).scores.sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.sum() == 2


def test_a_misspelt_label_gets_the_nearest_one() -> None:
    with pytest.raises(UsageError) as caught:
        class_index("brid", LABELS, 3)
    assert str(caught.value) == (
        "unknown target 'brid'\n  expected: a label of the model\n  next: did you mean 'bird'?"
    )


def test_a_label_without_labels_asks_for_an_index() -> None:
    with pytest.raises(UsageError, match="next: give a class index instead"):
        class_index("bird", (), 3)


@pytest.mark.parametrize("target", [-1, 3, 10**9])
def test_an_index_out_of_range_says_how_many_outputs_there_are(target: int) -> None:
    with pytest.raises(UsageError) as caught:
        class_index(target, LABELS, 3)
    assert str(caught.value) == (f"target out of range\n  got: {target}\n  expected: 0 … 2, the model has 3 outputs")


def test_a_label_beyond_the_outputs_is_out_of_range() -> None:
    with pytest.raises(UsageError, match="target out of range\n  got: 2\n  expected: 0 … 1"):
        class_index("bird", LABELS, 2)


@pytest.mark.parametrize(
    ("answer", "got"),
    [(OUTPUTS, r"\(2, 3\)"), (OUTPUTS.sum(), r"\(\)"), (3.0, "float"), (None, "NoneType")],
)
def test_a_callable_owes_one_score_an_image(answer: Any, got: str) -> None:
    with pytest.raises(InputError, match=rf"one score an image\n  got: {got}\n  expected: a tensor of shape \(2,\)"):
        select(OUTPUTS, lambda outputs: answer, LABELS)


@pytest.mark.parametrize(
    ("value", "parsed"), [(3, 3), ("3", 3), ("-1", -1), (np.int64(3), 3), ("dog", "dog"), ("²", "²"), ("--1", "--1")]
)
def test_digits_are_an_index_and_the_rest_is_a_label(value: Any, parsed: Any) -> None:
    assert TypeAdapter(Target).validate_python(value) == parsed


@pytest.mark.parametrize("value", [True, 1.5, None, [1]])
def test_what_names_no_output_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError, match="a class index, a label, 'predicted', or a callable"):
        TypeAdapter(Target).validate_python(value)
