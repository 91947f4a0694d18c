"""Models: what they have to answer, what identifies them, and how they are left."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from xaipipe import InputError, Model, Question
from xaipipe.models.model import as_found

PIXELS = torch.zeros(2, 3, 4, 4)


class Answers(nn.Module):
    def __init__(self, answer: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, pixels: torch.Tensor) -> Any:
        return self.answer(pixels)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: (), r"wrong shape\n  got: tuple\n  expected: a tensor \(2, classes\), or another with 2 answers"),
        (lambda x: {"logits": x[0]}, r"wrong shape\n  got: \(3, 4, 4\)"),
        (lambda x: x.sum(), r"wrong shape\n  got: \(\)[\s\S]*where: a module\n  next: wrap the model"),
        (lambda x: x[:, :0], r"wrong shape\n  got: \(2, 0, 4, 4\)"),
        (lambda x: x[:1, 0, 0], r"wrong shape\n  got: \(1, 4\)"),
        (lambda x: x[:, 0, 0].long(), "no gradient\n  got: torch.int64\n  expected: floating point"),
        (lambda x: x / 0, r"NaN or infinity\n  got: image 0, 1 of a batch of 2"),
        (lambda x: x[:, 0, 0] / 0, r"NaN or infinity\n  got: image 0, 1 of a batch of 2\n  expected: finite scores"),
        (
            lambda x: x @ torch.zeros(9, 9),
            r"failed on its input\n  got: RuntimeError.*\n  where: a module, input \(2",
        ),
    ],
)
def test_an_answer_that_is_no_scores_is_refused(answer: Callable[[torch.Tensor], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Model(Answers(answer)).outputs(PIXELS)


def test_the_image_that_was_not_finite_is_named() -> None:
    def answer(pixels: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[0.0, 1.0], [float("inf"), 0.0]])

    with pytest.raises(InputError, match="got: image 1 of a batch of 2"):
        Model(Answers(answer)).outputs(PIXELS)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 5), (2, 5, 7), (2, 3, 4, 5)])
def test_outputs_of_any_shape_are_answers(shape: tuple[int, ...]) -> None:
    assert Model(Answers(lambda x: torch.ones(shape))).outputs(PIXELS).shape == shape


def test_several_questions_cost_one_forward_pass(tiny: nn.Module, images: torch.Tensor) -> None:
    passes: list[int] = []
    tiny.register_forward_hook(lambda *seen: passes.append(1))
    model = Model(tiny, labels=("a", "b", "c"))
    first, second, third = model.ask(images, (0, Question("b", "probability"), "predicted"))
    assert len(passes) == 1
    assert (first.targets, second.targets) == ((0, 0), (1, 1))
    assert third.outputs is first.outputs
    assert second.scores.equal(model.score(images, Question(1, "probability")).scores)
    assert model.score(images, 0).scores.equal(first.scores)


def test_running_out_of_memory_is_not_the_models_fault() -> None:
    def answer(pixels: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError):
        Model(Answers(answer)).outputs(PIXELS)


def test_the_fingerprint_is_of_the_weights(tiny: nn.Module) -> None:
    before = Model(tiny).fingerprint
    assert Model(tiny, source="another name").fingerprint == before
    with torch.no_grad():
        tiny[0].weight[0, 0, 0, 0] += 1e-6
    assert Model(tiny).fingerprint != before


@pytest.mark.parametrize(("labels", "expected"), [(["a", "b"], ("a", "b")), ((1, 2), ()), (torch.ones(2), ()), (3, ())])
def test_labels_are_taken_only_where_they_are_names(tiny: nn.Module, labels: Any, expected: tuple[str, ...]) -> None:
    tiny.labels = labels
    assert Model.of(tiny).labels == expected


@pytest.mark.parametrize(("target", "label"), [(0, "a"), (1, "b"), (2, "2"), ("sum", "sum")])
def test_a_target_without_a_label_is_called_by_its_number(tiny: nn.Module, target: int | str, label: str) -> None:
    assert Model(tiny, labels=("a", "b")).label(target) == label


def test_as_found_evaluates_inside_and_restores_every_part(tiny: nn.Module) -> None:
    tiny.train()
    tiny[1].eval()
    before = [part.training for part in tiny.modules()]
    with as_found(tiny):
        assert not any(part.training for part in tiny.modules())
    assert [part.training for part in tiny.modules()] == before


def test_as_found_restores_after_an_error(tiny: nn.Module) -> None:
    tiny.train()
    with pytest.raises(ZeroDivisionError), as_found(tiny):
        raise ZeroDivisionError
    assert tiny.training
