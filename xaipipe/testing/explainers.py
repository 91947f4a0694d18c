"""The contract of explainers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xaipipe.api import explain_each_with, explain_with, installed
from xaipipe.models.locality import trace_locality
from xaipipe.models.model import Model
from xaipipe.models.targets import Question
from xaipipe.models.whole import WholeImage, pool_sums
from xaipipe.registry import Registry
from xaipipe.shares import (
    CellwiseExplainer,
    ComparingExplainer,
    ExactExplainer,
    FittedExplainer,
    Other,
    ShareBatch,
    SummedExplainer,
)
from xaipipe.stages import Explainer, Stage
from xaipipe.testing.comparing import assert_close, assert_same_bits, assert_same_facts
from xaipipe.testing.model_state import ModelState
from xaipipe.testing.models import LinearModel, SmallCnn, centring, images
from xaipipe.testing.params import StageContract
from xaipipe.types import Batch, Explanation

_EXACT = 1e-9
_ROUNDS = 4
_FACTOR = 4.0
"""How far a variance may be from what a method says of it, which is an estimate as well."""


class ExplainerContract(StageContract):
    """Every promise that an explainer makes. What is not promised by all methods is declared by the attributes."""

    method: ClassVar[type[Explainer]]
    network: ClassVar[type[nn.Module]] = SmallCnn
    """What it is tried on; methods that need another kind of network choose `SmallVit`, or one of their own.

    It is made without arguments, or with `pause`, the seconds that a forward pass sleeps. It sees images [N, 3, H, W]
    of 32 × 32 and 24 × 40 pixels, and tells three classes."""
    tolerance: ClassVar[float] = 1e-5
    """How far float32 results may differ where the order of sums does; a share of the largest value."""
    scales_with_score: ClassVar[bool] = False
    """Twice the score gives twice the values."""
    conserves: ClassVar[bool] = False
    """On a linear model the values of an image sum to its score without the bias."""

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor | None:
        """The exact values for y = ⟨weight[target], x⟩ + b, where a formula gives them; `weight` is [K, C, H, W]."""
        return None

    def explain(self, model: nn.Module, x: Tensor, target: Any = 1, **changes: Any) -> Explanation:
        """As `xaipipe.explain` would, with every check at the stage's boundary."""
        params = {**self.params, "target": target, **changes}
        return explain_with(_OneMethod(self.method), model, x, self.method.name, **params)

    # -- what comes out ---------------------------------------------------------------------------

    def test_returns_one_finite_map_an_image(self) -> None:
        explanation = self.explain(self.network(), images(3))
        assert explanation.input_size == (32, 32)
        assert explanation.to_input().shape == (3, explanation.values.shape[1], 32, 32)
        assert not explanation.values.requires_grad
        assert not explanation.scores.requires_grad

    def test_cells_of_an_oblong_image_lie_on_it(self) -> None:
        height, width = 24, 40
        explanation = self.explain(self.network(), images(1, (height, width)))
        for axis, length in ((0, height), (1, width)):
            scale, cells = explanation.grid.scale[axis], explanation.values.shape[2 + axis]
            centres = explanation.grid.centres(axis, cells)
            assert centres[0] >= -scale, f"cells begin at {centres[0]}"
            assert centres[-1] <= length - 1 + scale, f"cells end at {centres[-1]} of {length}"
            assert cells * scale >= length / 2, f"{cells} cells of {scale} pixels for {length}"

    def test_scores_are_the_models_for_the_targets(self) -> None:
        model, x = self.network(), images(3)
        asked, predicted = self.explain(model, x, target=2), self.explain(model, x, target="predicted")
        answers = model(x).detach()
        assert_close(asked.scores, answers[:, 2], self.tolerance, "scores")
        assert asked.targets == (2, 2, 2)
        assert predicted.targets == tuple(answers.argmax(dim=1).tolist())

    def test_a_probability_is_explained_where_it_is_asked_for(self) -> None:
        model, x = self.network(), images(2)
        explanation = self.explain(model, x, target=1, score="probability")
        assert_close(explanation.scores, model(x).detach().softmax(dim=1)[:, 1], self.tolerance, "scores")
        assert explanation.diagnostics.get("score") == "probability", "diagnostics do not hold what was asked"

    def test_several_targets_at_once_equal_one_by_one(self) -> None:
        model, x, targets = self.network(), images(2), [2, "predicted", 0, _times(1)]
        params = {name: value for name, value in self.params.items() if name != "target"}
        together = explain_each_with(_OneMethod(self.method), model, x, self.method.name, targets, **params)
        for target, got in zip(targets, together, strict=True):
            alone = self.explain(model, x, target=target)
            assert_close(got.values, alone.values, self.tolerance, f"values for target {target}")
            assert_close(got.scores, alone.scores, self.tolerance, f"scores for target {target}")
            assert (got.targets, got.grid) == (alone.targets, alone.grid)
            assert_same_facts(got.diagnostics, alone.diagnostics, self.tolerance)

    def test_half_precision_gives_finite_values(self) -> None:
        explanation = self.explain(self.network().bfloat16(), images(1).bfloat16())
        assert float(explanation.values.float().abs().max()) > 0

    def test_exact_on_a_linear_model(self) -> None:
        model, x = LinearModel().double(), images(2, (32, 24)).double()
        expected = self.expected_on_linear(model.weight, x, 1)
        if expected is None:
            pytest.skip("the class states no formula for a linear model")
        assert_close(self.explain(model, x, target=1).values, expected, _EXACT)

    def test_conserves_the_score_of_a_linear_model(self) -> None:
        if not self.conserves:
            pytest.skip("the class does not declare `conserves`")
        model, x = LinearModel().double(), images(2, (32, 24)).double()
        explanation = self.explain(model, x, target=1)
        assert_close(explanation.values.sum(dim=(1, 2, 3)), explanation.scores - model.head.bias[1].detach(), _EXACT)

    def test_values_are_not_normalised(self) -> None:
        if not self.scales_with_score:
            pytest.skip("the class does not declare `scales_with_score`")
        model, x = self.network().double(), images(2).double()
        single = self.explain(model, x, target=_times(1))
        double = self.explain(model, x, target=_times(2))
        assert_close(double.values, 2 * single.values, self.tolerance)

    # -- the same call, the same answer -----------------------------------------------------------

    def test_same_call_gives_same_bits(self) -> None:
        model, x = self.network(), images(2)
        first = self.explain(model, x)
        torch.rand(7)  # whoever draws from the global random state goes on from another place
        assert_same_bits(self.explain(model, x).values, first.values)

    def test_global_random_state_is_left_alone(self) -> None:
        before = _random_states()
        self.explain(self.network(), images(1))
        drawn = [library for library, state in _random_states().items() if state != before[library]]
        assert not drawn, f"drawn from the global random state of {', '.join(drawn)}"

    def test_another_seed_gives_another_sample(self) -> None:
        if "seed" not in self.method.Params.model_fields:
            pytest.skip("the method has no seed")
        model, x = self.network(), images(1)
        assert not self.explain(model, x, seed=1).values.equal(self.explain(model, x, seed=2).values)

    def test_standard_error_tells_how_far_off_another_sample_is(self) -> None:
        model, x = self.network(), images(3)
        first = self.explain(model, x)
        if first.standard_error is None:
            pytest.skip("the method states no standard error")
        if "seed" not in self.method.Params.model_fields:
            pytest.fail("a method that samples has a seed")
        second = self.explain(model, x, seed=12345)
        assert second.standard_error is not None
        expected = float((first.standard_error.square() + second.standard_error.square()).mean())
        found = float((first.values - second.values).square().mean())
        assert expected / _FACTOR <= found <= expected * _FACTOR, f"variance {found:g}, expected {expected:g}"

    def test_batch_equals_images_one_by_one(self) -> None:
        model, x = self.network(), images(3)
        together = self.explain(model, x)
        for i in range(3):
            alone = self.explain(model, x[i : i + 1])
            assert_close(together.values[i : i + 1], alone.values, self.tolerance, f"image {i}")
            assert alone.grid == together.grid

    def test_two_threads_explain_one_model_at_once(self) -> None:
        pictures = [images(1, seed=3), images(1, seed=4)]
        alone = [self.explain(self.network(), x) for x in pictures]
        with ThreadPoolExecutor(2) as pool:
            for _ in range(_ROUNDS):
                model = self.network(pause=0.002)  # a new one, so that they also meet in whatever is done once a model
                together = pool.map(lambda x, model=model: self.explain(model, x), pictures)
                for got, want in zip(together, alone, strict=True):
                    assert_same_bits(got.values, want.values)

    def test_works_where_gradients_are_off(self) -> None:
        model, x = self.network(), images(1)
        expected = self.explain(model, x)
        with torch.no_grad():
            assert_same_bits(self.explain(model, x).values, expected.values)

    @pytest.mark.gpu
    def test_cpu_and_cuda_agree(self) -> None:
        if not torch.cuda.is_available():
            pytest.skip("there is no CUDA device")
        model, x = self.network().double(), images(2).double()
        on_cpu = self.explain(model, x)
        on_cuda = self.explain(model.cuda(), x.cuda())
        assert_close(on_cuda.values.cpu(), on_cpu.values, self.tolerance)
        assert on_cuda.grid == on_cpu.grid

    # -- in an exact run --------------------------------------------------------------------------

    def test_contributions_of_shares_add_up_to_the_whole_images_map(self) -> None:
        explainer = self.build(target=1)
        if not isinstance(explainer, SummedExplainer) or isinstance(explainer, ComparingExplainer):
            pytest.skip("the method's maps are not sums over shares of one image")
        net, x = SmallCnn().double(), images(1).double()
        whole = self.explain(net, x, target=1)
        parts = [explainer.contributions(_whole_batch(x), model).values for model in _halves(net, x)]
        assert_close(explainer.summed(parts[0] + parts[1]), whole.values, _EXACT)

    def test_comparisons_of_shares_add_up_to_the_whole_images_map(self) -> None:
        asked: dict[str, Any] = {"target": 1, "score": "probability"}
        explainer = self.build(**asked)
        if not isinstance(explainer, ComparingExplainer):
            pytest.skip("the method compares with no other image")
        net, x = SmallCnn().double(), images(1).double()
        whole, batch = self.explain(net, x, **asked), _whole_batch(x)
        others = list(explainer.others(batch, explainer.means(x)))
        halves = zip(*(_halves(net, pixels) for pixels in (x, *others)), strict=True)
        parts = [explainer.compared(batch, model, map(Other, others, models)).values for model, *models in halves]
        assert_close(explainer.summed(parts[0] + parts[1]), whole.values, _EXACT)

    def test_weights_from_the_sums_of_shares_are_the_whole_images(self) -> None:
        explainer = self.build(target=1)
        if not isinstance(explainer, FittedExplainer):
            pytest.skip("the method learns nothing from the whole image")
        net, x = SmallCnn().double(), images(1).double()
        whole = self.explain(net, x, target=1)
        halves, batch = _halves(net, x), _whole_batch(x)
        height, width = whole.values.shape[2:]
        cells = [(slice(0, height), slice(0, width // 3)), (slice(0, height), slice(width // 3, width))]
        shares = [ShareBatch((), x, batch.valid, model=m, cells=own) for m, own in zip(halves, cells, strict=True)]
        sums = [explainer.survey(share, share.model) for share in shares]
        fitted = explainer.fit(sums[0] + sums[1], height * width)
        for model in halves:
            assert_close(explainer.explain_fitted(batch, model, fitted).values, whole.values, _EXACT)

    def test_cells_of_a_share_are_the_whole_images(self) -> None:
        """Of a share without the right quarter of the image; cells far from there."""
        explainer = self.build(target=1)
        if not isinstance(explainer, CellwiseExplainer):
            pytest.skip("the method's maps are not made cell by cell")
        net, x = SmallCnn().double(), images(1).double()
        whole, (pool,) = self.explain(net, x, target=1).values, trace_locality(net, x).pools
        rows, columns = pool.cells
        (total,) = pool_sums(Model(net), [pool], [(slice(0, rows), slice(0, columns))], x)
        own = (slice(0, rows), slice(0, columns * 5 // 8))
        model = WholeImage.of_share(Model(net), [pool], [total[0]], [rows * columns], [own])
        values = explainer.explain(_whole_batch(x[..., : x.shape[3] * 3 // 4]), model).values
        near = whole.shape[3] * 3 // 8
        assert_close(values[..., :near], whole[..., :near], _EXACT)

    def test_shares_answer_several_questions_as_one_by_one(self) -> None:
        explainer, net, x = self.build(), SmallCnn().double(), images(1).double()
        if not isinstance(explainer, ExactExplainer):
            pytest.skip("the method cannot be part of an exact run")
        batch, questions = _whole_batch(x), [Question(2), Question("predicted", "probability")]
        together = _answered(explainer, batch, net, questions)
        for number, question in enumerate(questions):
            (alone,) = _answered(explainer.asking(question), batch, net, [question])
            assert_close(together[number].values, alone.values, _EXACT, f"values for {question.target}")
            assert_close(together[number].scores, alone.scores, _EXACT, f"scores for {question.target}")
            assert together[number].targets == alone.targets

    # -- what is left alone -----------------------------------------------------------------------

    def test_input_is_not_modified(self) -> None:
        x = images(2)
        before = x.clone()
        self.explain(self.network(), x)
        assert_same_bits(x, before, "pixels")
        assert not x.requires_grad
        assert x.grad is None

    def test_model_that_writes_into_its_input_is_explained_all_the_same(self) -> None:
        x = images(2)
        expected = self.explain(centring(self.network(), in_place=False), x.clone())
        got = self.explain(centring(self.network(), in_place=True), x)
        assert_same_bits(got.values, expected.values)
        assert_same_bits(x, images(2), "pixels")

    def test_model_is_left_as_it_was_found(self) -> None:
        model = self.network()
        first, *_, last = model.parameters()
        first.requires_grad = False
        last.grad = torch.ones_like(last)
        before = ModelState.of(model)
        x = images(2)
        cast(Explainer, self.build(target=1)).explain(_whole_batch(x), Model(model))
        before.assert_unchanged(model)

    def test_model_in_training_mode_is_explained_in_evaluation_mode(self) -> None:
        x = images(2)
        expected = self.explain(self.network(), x)
        model = self.network().train()
        next(model.children()).eval()
        before = ModelState.of(model)
        assert_same_bits(self.explain(model, x).values, expected.values)
        before.assert_unchanged(model)


class _OneMethod(Registry):
    """A registry of one method, so that a suite needs nothing else to be installed; others are looked up as ever."""

    def __init__(self, method: type[Explainer]) -> None:
        self._only = method

    def method(self, kind: str, name: str) -> type[Stage]:
        return self._only if name == self._only.name else installed().method(kind, name)


def _whole_batch(x: Tensor) -> Batch:
    return Batch(tiles=(), pixels=x, valid=torch.ones(len(x), *x.shape[2:], dtype=torch.bool))


def _halves(net: nn.Module, x: Tensor) -> list[WholeImage]:
    """The model as two shares of one image meet it: each owns half of the cells that are pooled."""
    model, pools = Model(net), trace_locality(net, x).pools
    rows, columns = pools[0].cells
    every = slice(0, rows)
    halves = [[(every, slice(0, columns // 3))], [(every, slice(columns // 3, columns))]]
    totals = [sum(parts)[0] for parts in zip(*(pool_sums(model, pools, half, x) for half in halves), strict=True)]
    return [WholeImage.of_share(model, pools, totals, [rows * columns], half) for half in halves]


_SOME_CELLS = 16


def _answered(
    explainer: ExactExplainer, batch: Batch, net: nn.Module, questions: Sequence[Question]
) -> list[Explanation]:
    """A share's answers to several questions; of one question, by the function that answers one."""
    model, alone = _halves(net, batch.pixels)[0], len(questions) == 1
    if isinstance(explainer, FittedExplainer):
        if alone:
            return [explainer.explain_fitted(batch, model, explainer.fit(explainer.survey(batch, model), _SOME_CELLS))]
        fitted = [explainer.fit(sums, _SOME_CELLS) for sums in explainer.survey_each(batch, model, questions)]
        return explainer.explain_fitted_each(batch, model, questions, fitted)
    if isinstance(explainer, CellwiseExplainer):
        return [explainer.explain(batch, model)] if alone else explainer.explain_each(batch, model, questions)
    assert isinstance(explainer, SummedExplainer)
    if not isinstance(explainer, ComparingExplainer):
        one = explainer.contributions
        return [one(batch, model)] if alone else explainer.contributions_each(batch, model, questions)
    pixels = list(explainer.others(batch, explainer.means(batch.pixels)))
    others = [Other(own, _halves(net, own)[0]) for own in pixels]
    if alone:
        return [explainer.compared(batch, model, iter(others))]
    return explainer.compared_each(batch, model, iter(others), questions)


def _times(factor: float) -> Callable[[Tensor], Tensor]:
    def score(outputs: Tensor) -> Tensor:
        return factor * outputs[:, 1]

    return score


def _random_states() -> dict[str, object]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state(legacy=True)),
        "Python": random.getstate(),
    }
