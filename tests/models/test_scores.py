"""From outputs to scores: classes, single outputs, segmentations, embeddings; what names no score is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from xaipipe import InputError, Question, Similarity, UsageError
from xaipipe.models.scores import class_index, select

OUTPUTS = torch.tensor([[1.0, 5.0, 2.0], [9.0, 0.0, 3.0]])
LABELS = ("cat", "dog", "bird")
NORMS = OUTPUTS.norm(dim=1).tolist()


def maps(classes: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(2, classes, 4, 5, generator=torch.Generator().manual_seed(seed))


def scores(outputs: Tensor, *asked: Any, **how: Any) -> Tensor:
    return select(outputs, Question(*asked, **how), LABELS).scores


def total(outputs: Tensor) -> Tensor:
    return outputs.sum(dim=1)


@pytest.mark.parametrize(
    ("target", "expected", "targets"),
    [
        (2, [2.0, 3.0], (2, 2)),
        ("dog", [5.0, 0.0], (1, 1)),
        ("predicted", [5.0, 9.0], (1, 0)),
        ((2, 1), [2.0, 0.0], (2, 1)),
        (total, [8.0, 12.0], ("total", "total")),
        ("norm", NORMS, ("norm", "norm")),
        (Similarity(OUTPUTS[1]), [15 / (30 * 90) ** 0.5, 1.0], ("similarity", "similarity")),
    ],
)
def test_a_target_selects_one_score_an_image(target: Any, expected: list[float], targets: tuple[Any, ...]) -> None:
    selection = select(OUTPUTS, Question(target), LABELS)
    torch.testing.assert_close(selection.scores, torch.tensor(expected))
    assert selection.targets == targets
    assert selection.outputs is OUTPUTS


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("target", [1, "dog", "predicted"])
def test_scores_are_differentiable(target: Any, score: Any) -> None:
    for outputs in (OUTPUTS, maps()):
        leaf = outputs.clone().requires_grad_()
        select(leaf, Question(target, score, None if leaf.ndim == 2 else "everywhere"), LABELS).scores.sum().backward()
        assert leaf.grad is not None
        assert leaf.grad.abs().sum() > 0


def test_a_probability_is_the_softmax_or_of_one_output_the_sigmoid() -> None:
    torch.testing.assert_close(scores(OUTPUTS, "dog", "probability"), OUTPUTS.softmax(dim=1)[:, 1])
    for single in (OUTPUTS[:, :1], OUTPUTS[:, 0]):
        torch.testing.assert_close(scores(single, 0, "probability"), OUTPUTS[:, 0].sigmoid())
    everywhere = scores(maps(), 1, "probability", "everywhere")
    torch.testing.assert_close(everywhere, maps().softmax(dim=1)[:, 1].mean(dim=(1, 2)))
    single = scores(maps(1), 0, "probability", "everywhere")
    torch.testing.assert_close(single, maps(1).sigmoid()[:, 0].mean(dim=(1, 2)))


@pytest.mark.parametrize("outputs", [OUTPUTS[:, 1], OUTPUTS[:, 1:2]])
@pytest.mark.parametrize("target", [0, "predicted", "cat"])
def test_one_output_is_a_regression(outputs: Tensor, target: Any) -> None:
    selection = select(outputs, Question(target), LABELS)
    assert selection.scores.tolist() == [5.0, 0.0]
    assert selection.targets == (0, 0)


def test_a_segmentation_is_asked_in_the_pixels_given_to_the_class() -> None:
    outputs = maps()
    selection = select(outputs, Question(2), LABELS)
    given = outputs.argmax(dim=1) == 2
    for image in range(2):
        torch.testing.assert_close(selection.scores[image], outputs[image, 2][given[image]].mean())
    assert selection.asked == {
        "score": "logit",
        "within": "pixels given to the class",
        "within_pixels": given.sum(dim=(1, 2)).tolist(),
    }


def test_of_one_map_the_positive_pixels_are_asked() -> None:
    outputs = maps(1)
    inside = outputs[0, 0][outputs[0, 0] > 0]
    torch.testing.assert_close(scores(outputs, 0)[0], inside.mean())


def test_a_mask_says_where_a_segmentation_is_asked() -> None:
    outputs, mask = maps(), torch.zeros(4, 5, dtype=torch.bool)
    mask[1, 2:4] = True
    torch.testing.assert_close(scores(outputs, 1, within=mask), outputs[:, 1, 1, 2:4].mean(dim=1))
    masks = torch.stack([mask, mask.roll(1, 0)])
    torch.testing.assert_close(scores(outputs, 1, within=masks)[1], outputs[1, 1, 2, 2:4].mean())
    assert select(outputs, Question(1, within=masks)).asked["within"] == "mask"


def test_the_predicted_class_of_a_segmentation_has_the_most_pixels() -> None:
    outputs = torch.zeros(1, 3, 2, 3)
    outputs[0, 2, 0] = 1.0  # three pixels
    outputs[0, 1, 1, :2] = 9.0  # two, by far
    assert select(outputs, Question("predicted")).targets == (2,)
    lower = torch.tensor([[False] * 3, [True] * 3])
    assert select(outputs, Question("predicted", within=lower)).targets == (1,)


def test_a_class_without_a_pixel_scores_zero_and_says_so() -> None:
    outputs = torch.zeros(1, 2, 2, 2)
    outputs[0, 0] = 1.0
    outputs.requires_grad_()
    selection = select(outputs, Question(1))
    assert selection.scores.tolist() == [0.0]
    assert selection.asked["within_pixels"] == [0]
    selection.scores.sum().backward()
    assert outputs.grad is not None
    assert not outputs.grad.any()


def test_a_mean_over_many_pixels_does_not_overflow_half_precision() -> None:
    outputs = torch.full((1, 1, 256, 256), 100.0, dtype=torch.float16)
    assert scores(outputs, 0).tolist() == [100.0]
    assert scores(outputs, 0).dtype == torch.float16


def test_norm_is_of_the_whole_output_unless_a_label_is_called_so() -> None:
    torch.testing.assert_close(scores(maps(), "norm"), maps().flatten(1).norm(dim=1))
    assert select(OUTPUTS, Question("norm"), ("tumour", "norm", "other")).targets == (1, 1)


def test_a_callable_gets_the_output_as_the_model_gave_it() -> None:
    tokens = torch.randn(2, 7, 4, 3, 2)
    seen: list[Tensor] = []

    def first(outputs: Tensor) -> Tensor:
        seen.append(outputs)
        return outputs[:, 0, 0, 0, 0]

    assert scores(tokens, first).equal(tokens[:, 0, 0, 0, 0])
    assert seen[0] is tokens


@pytest.mark.parametrize("question", [Question(), Question(score="probability"), Question(total), Question(1)])
def test_what_was_settled_asks_the_same_again(question: Question) -> None:
    selection = select(OUTPUTS, question)
    again = select(OUTPUTS, selection.settled)
    assert again.targets == selection.targets
    assert again.scores.equal(selection.scores)
    other = select(OUTPUTS.flip(1), selection.settled)
    assert other.targets == selection.targets


def test_settled_pixels_stay_where_they_are_when_the_answer_changes() -> None:
    first, changed = select(maps(), Question()), maps(seed=1)
    again = select(changed, first.settled)
    given = maps()[0].argmax(dim=0) == first.targets[0]
    assert again.targets == first.targets
    torch.testing.assert_close(again.scores[0], changed[0, first.targets[0]][given].mean())  # type: ignore[index]


def test_settled_pixels_may_be_none() -> None:
    outputs = torch.zeros(2, 2, 2, 2)
    outputs[:, 0] = 1.0
    settled = select(outputs, Question(1)).settled
    assert select(outputs, settled).scores.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("outputs", [OUTPUTS, maps(), OUTPUTS[:, 0]], ids=["classes", "maps", "single"])
@pytest.mark.parametrize("score", ["logit", "probability"])
def test_gradients_of_several_scores_can_be_taken_at_once(outputs: Tensor, score: Any) -> None:
    leaf = outputs.clone().requires_grad_()
    several = torch.stack([select(leaf, Question(target, score)).scores for target in ("predicted", 0)])
    (together,) = torch.autograd.grad(
        several, leaf, torch.eye(several.numel()).reshape(-1, *several.shape), is_grads_batched=True, retain_graph=True
    )
    for one, value in zip(together, several.flatten(), strict=True):
        torch.testing.assert_close(one, torch.autograd.grad(value, leaf, retain_graph=True)[0])


def test_a_misspelt_label_gets_the_nearest_one() -> None:
    with pytest.raises(UsageError) as caught:
        class_index("brid", LABELS, 3)
    assert str(caught.value) == (
        "unknown target 'brid'\n  expected: a label of the model\n  next: did you mean 'bird'?"
    )


def test_a_label_without_labels_asks_for_an_index() -> None:
    with pytest.raises(UsageError, match="next: give a class index instead"):
        class_index("bird", (), 3)


@pytest.mark.parametrize("target", ["1,2", "[1, 2]", "cat, predicted", '["dog", "bird"]'])
def test_several_targets_in_one_text_are_refused(target: str) -> None:
    with pytest.raises(UsageError, match=r"one target makes one map\n[\s\S]*xaipipe\.explain of a list"):
        class_index(target, LABELS, 3)


def test_a_label_may_hold_a_comma() -> None:
    assert class_index("tench, Tinca tinca", ("cat", "tench, Tinca tinca"), 2) == 1
    with pytest.raises(UsageError, match="did you mean 'tench, Tinca tinca'"):
        class_index("tench, Tinca tinka", ("cat", "tench, Tinca tinca"), 2)


@pytest.mark.parametrize("target", [-1, 3, 10**9])
def test_an_index_out_of_range_says_how_many_outputs_there_are(target: int) -> None:
    with pytest.raises(UsageError) as caught:
        class_index(target, LABELS, 3)
    assert str(caught.value) == (f"target out of range\n  got: {target}\n  expected: 0 … 2, the model has 3 outputs")


def test_of_one_output_only_the_first_can_be_named() -> None:
    with pytest.raises(UsageError, match="target out of range\n  got: 1\n  expected: 0, the model has one output"):
        select(OUTPUTS[:, 0], Question(1))


def test_a_label_beyond_the_outputs_is_out_of_range() -> None:
    with pytest.raises(UsageError, match="target out of range\n  got: 2\n  expected: 0 … 1"):
        class_index("bird", LABELS, 2)


def test_a_class_for_each_of_other_images_is_refused() -> None:
    with pytest.raises(UsageError, match="a class for each of other images\n  got: 3\n  expected: 2"):
        select(OUTPUTS, Question((1, 1, 1)))


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (OUTPUTS, r"\(2, 3\) torch.float32"),
        (OUTPUTS.sum(), r"\(\) torch.float32"),
        (OUTPUTS.argmax(dim=1), r"\(2,\) torch.int64"),
        (3.0, "float"),
        (None, "NoneType"),
    ],
)
def test_a_callable_owes_one_score_an_image(answer: Any, got: str) -> None:
    expected = r"a floating point tensor of shape \(2,\)"
    with pytest.raises(InputError, match=rf"one score an image\n  got: {got}\n  expected: {expected}"):
        select(OUTPUTS, Question(lambda outputs: answer))


@pytest.mark.parametrize("target", [total, "norm", Similarity(OUTPUTS[0])])
def test_only_a_class_has_a_probability_and_pixels(target: Any) -> None:
    with pytest.raises(UsageError, match=r"only a class has a probability\n  got: target \w+\n  next: take"):
        select(OUTPUTS, Question(target, "probability"))
    with pytest.raises(UsageError, match=r"for the classes of a segmentation\n  got: target \w+\n  next: mask inside"):
        select(OUTPUTS, Question(target, within="everywhere"))


@pytest.mark.parametrize("within", ["everywhere", torch.ones(4, 5, dtype=torch.bool)])
def test_within_is_refused_where_there_are_no_maps(within: Any) -> None:
    with pytest.raises(UsageError, match=r"this model's output has none\n  got: an output of shape \(2, 3\)"):
        select(OUTPUTS, Question(1, within=within))


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 5), (2, 5, 4)])
def test_a_mask_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"another size than [\s\S]*expected: \(4, 5\) or \(2, 4, 5\)"):
        select(maps(), Question(1, within=torch.ones(shape, dtype=torch.bool)))


def test_a_mask_without_a_pixel_is_refused() -> None:
    masks = torch.ones(2, 4, 5, dtype=torch.bool)
    masks[1] = False
    with pytest.raises(UsageError, match="holds no pixel\n  got: image 1"):
        select(maps(), Question(1, within=masks))


@pytest.mark.parametrize("shape", [(2, 7, 4), (2, 1, 2, 3, 4)])
def test_a_class_of_an_output_that_is_neither_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"wrong shape\n  got: \(2, [\s\S]*where: Net\n  next: give a callable"):
        select(torch.zeros(shape), Question(1), (), "Net")
