"""Every check of the explainers' contract fails for a method that breaks its promise, and only for that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import pytest
import torch
from pydantic import AfterValidator, ConfigDict, Field, Strict
from torch import Tensor

from xaipipe import (
    Batch,
    BoundaryError,
    CellwiseExplainer,
    ComparingExplainer,
    Explainer,
    ExplainerParams,
    Explanation,
    FittedExplainer,
    Grid,
    Model,
    Other,
    Question,
    SummedExplainer,
    UsageError,
)
from xaipipe.testing import ExplainerContract


class Honest(Explainer):
    """What each pixel contributes to a linear score: x · ∂y/∂x.

    Misleads when: the model is not linear.

    Example: `xaipipe.explain(model, x, method="honest")`

    Reference: none, it is for this test.
    """

    name = "honest"

    def explain(self, batch: Batch, model: Model) -> Explanation:
        pixels = batch.pixels.detach().clone().requires_grad_()
        with torch.enable_grad():
            selection = model.score(pixels.clone(), self.params.question)
            (gradient,) = torch.autograd.grad(selection.scores.sum(), pixels)
        return Explanation(
            values=self.finished(pixels.detach() * gradient, model),
            grid=Grid(),
            targets=selection.targets,
            scores=selection.scores.detach(),
            input_size=tuple(pixels.shape[2:]),
            diagnostics=selection.asked,
        )

    def finished(self, values: Tensor, model: Model) -> Tensor:
        """Where most of the methods below go wrong."""
        return values


class Sampled(Honest):
    class Params(ExplainerParams):
        seed: int = Field(0, description="of the noise")

    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values + torch.randn(values.shape[1:], generator=torch.Generator().manual_seed(self.params.seed))


class Averaged(Sampled):
    """The mean of a sample of eight."""

    def explain(self, batch: Batch, model: Model) -> Explanation:
        explanation = Honest.explain(self, batch, model)
        generator = torch.Generator().manual_seed(self.params.seed)
        sample = explanation.values + torch.randn(8, *explanation.values.shape[1:], generator=generator)[:, None]
        return explanation.replace(values=sample.mean(dim=0), standard_error=self.error(sample))

    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values

    def error(self, sample: Tensor) -> Tensor:
        return sample.std(dim=0) / 8**0.5


class ConfusesErrorAndDeviation(Averaged):
    def error(self, sample: Tensor) -> Tensor:
        return sample.std(dim=0)


class CountsOnCancellation(Averaged):
    def error(self, sample: Tensor) -> Tensor:
        return sample.std(dim=0) / 8


class NamedForPeople(Honest):
    name = "My Method"


class Undocumented(Honest):
    """It shows something."""


class Undescribed(Honest):
    class Params(ExplainerParams):
        steps: int = 5


class Drifting(Honest):
    class Params(ExplainerParams):
        steps: Annotated[int, AfterValidator(lambda steps: steps + 1)] = Field(5, description="one more each time")


class Aliased(Honest):
    class Params(ExplainerParams):
        steps: int = Field(5, alias="numberOfSteps", description="known by another name in files")


class OnlyFromPython(Honest):
    class Params(ExplainerParams):
        pair: Annotated[tuple[int, int], Strict()] = Field((1, 2), description="TOML knows no tuples")


class TakesAnything(Honest):
    class Params(ExplainerParams):
        model_config = ConfigDict(extra="ignore")


class NotANumber(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        return torch.full_like(values, torch.nan)


class KeepsTheGraph(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values.requires_grad_()


class Misplaced(Honest):
    def explain(self, batch: Batch, model: Model) -> Explanation:
        return super().explain(batch, model).replace(grid=Grid((2.0, 2.0)))


class Transposed(Honest):
    def explain(self, batch: Batch, model: Model) -> Explanation:
        return super().explain(batch, model).replace(values=super().explain(batch, model).values.mT)


class Probabilities(Honest):
    def explain(self, batch: Batch, model: Model) -> Explanation:
        explanation = super().explain(batch, model)
        return explanation.replace(scores=explanation.scores.sigmoid())


class AsksForLogits(Honest):
    def explain(self, batch: Batch, model: Model) -> Explanation:
        return self.asking(Question(self.params.target)).explain_as_asked(batch, model)

    def explain_as_asked(self, batch: Batch, model: Model) -> Explanation:
        return super().explain(batch, model)


class ForgetsWhatWasAsked(Honest):
    def explain(self, batch: Batch, model: Model) -> Explanation:
        return super().explain(batch, model).replace(diagnostics={})


class RemembersItsFirstTarget(Honest):
    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.first = self.asking(self.params.question)

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return Honest(self.first.params).explain(batch, model)


class AnswersInReverse(Honest):
    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        return super().explain_each(batch, model, questions)[::-1]


class AnswersTheFirstOnly(Honest):
    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        return super().explain_each(batch, model, questions[:1])


class KnowsTheFirstTargetOnly(Honest):
    """States the same of all targets."""

    def explain(self, batch: Batch, model: Model) -> Explanation:
        explanation = super().explain(batch, model)
        return explanation.replace(diagnostics={**explanation.diagnostics, "sum": explanation.values.sum().tolist()})

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        each = super().explain_each(batch, model, questions)
        return [one.replace(diagnostics={**one.diagnostics, "sum": each[0].diagnostics["sum"]}) for one in each]


class Overflowing(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values.half() * 1e9 if values.dtype == torch.bfloat16 else values


class OnePerCentOff(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values * 1.01


class Magnitude(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values.abs()


class Normalised(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values / values.abs().amax(dim=(1, 2, 3), keepdim=True)


class NormalisedPerBatch(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values / values.abs().max()


class LooksAtNeighbours(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values - 0.1 * values.mean(dim=0, keepdim=True)


class GlobalNoise(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values + torch.randn_like(values)


class SeedsEverybody(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        torch.manual_seed(0)
        return values


class IgnoresItsSeed(Sampled):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values + torch.randn(values.shape[1:], generator=torch.Generator().manual_seed(0))


class HearsOtherThreads(Honest):
    """Its hook fires for whoever runs the model."""

    def explain(self, batch: Batch, model: Model) -> Explanation:
        heard: list[Tensor] = []
        handle = model.module.block.register_forward_hook(lambda _m, _i, output: heard.append(output.detach().clone()))
        try:
            return super().explain(batch, model).replace(values=heard[-1])
        finally:
            handle.remove()


class TrustsTheGradMode(Honest):
    def explain(self, batch: Batch, model: Model) -> Explanation:
        explanation = super().explain(batch, model)
        return explanation.replace(values=explanation.values * torch.is_grad_enabled())


class WritesIntoTheInput(Honest):
    def explain(self, batch: Batch, model: Model) -> Explanation:
        batch.pixels.add_(1)
        return super().explain(batch, model)


class TracksTheInput(Honest):
    def explain(self, batch: Batch, model: Model) -> Explanation:
        batch.pixels.requires_grad_()
        return super().explain(batch, model)


class LetsTheModelWrite(Honest):
    def explain(self, batch: Batch, model: Model) -> Explanation:
        with torch.no_grad():
            model.module(batch.pixels)  # to look at something
        return super().explain(batch, model)


class LeaksAHook(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        model.module.head.register_forward_hook(lambda *_: None)
        return values


class AccumulatesGradients(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        next(p.grad for p in model.module.parameters() if p.grad is not None).add_(1)
        return values


class FreezesParameters(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        model.module.requires_grad_(False)
        return values


class UpdatesStatistics(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        model.module.norm.running_mean.add_(0.01)
        return values


class ReplacesALayer(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        model.module.relu = torch.nn.ReLU(inplace=True).eval()
        return values


class SwitchesGradientsOff(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        torch.set_grad_enabled(False)
        return values


class GoesBackToTraining(Honest):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        model.module.train()
        return values


class Summed(SummedExplainer):
    name = "summed"

    def contributions(self, batch: Batch, model: Model) -> Explanation:
        return Honest(self.params).explain(batch, model)


class SquaresEveryShare(Summed):
    def contributions(self, batch: Batch, model: Model) -> Explanation:
        explanation = super().contributions(batch, model)
        return explanation.replace(values=explanation.values.square())


class AnswersSharesInReverse(Summed):
    def contributions_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        return super().contributions_each(batch, model, questions)[::-1]


class Compared(ComparingExplainer):
    """The gradient at the darker image, times the difference to it."""

    name = "compared"

    def others(self, batch: Batch, means: Tensor | None) -> Iterator[Tensor]:
        yield batch.pixels / 2

    def compared(self, batch: Batch, model: Model, others: Iterable[Other]) -> Explanation:
        ((pixels, as_met),) = others
        there = Honest(self.params).explain(replace(batch, pixels=pixels), as_met)
        return there.replace(scores=model.score(batch.pixels, self.params.question).scores.detach())


class MeetsOthersAsTheImage(Compared):
    def compared(self, batch: Batch, model: Model, others: Iterable[Other]) -> Explanation:
        return super().compared(batch, model, [other._replace(model=model) for other in others])


class ComparesForTheFirst(Compared):
    def compared_each(
        self, batch: Batch, model: Model, others: Iterable[Other], questions: Sequence[Question]
    ) -> list[Explanation]:
        return [self.asking(questions[0]).compared(batch, model, others)] * len(questions)


class Fitted(FittedExplainer):
    """The image, each channel weighted by its mean gradient."""

    name = "fitted"

    def explain(self, batch: Batch, model: Model) -> Explanation:
        cells = batch.pixels.shape[2] * batch.pixels.shape[3]
        return self.explain_fitted(batch, model, self.survey(batch, model) / cells)

    def survey(self, batch: Batch, model: Model) -> Tensor:
        values = Honest(self.params).explain(batch, model).values
        return (values / batch.pixels).sum(dim=(2, 3))

    def fit(self, sums: Tensor, cells: int) -> Tensor:
        return sums / cells

    def explain_fitted(self, batch: Batch, model: Model, fitted: Tensor) -> Explanation:
        explanation = Honest(self.params).explain(batch, model)
        return explanation.replace(values=batch.pixels * fitted[:, :, None, None])


class ForgetsHowManyCells(Fitted):
    def fit(self, sums: Tensor, cells: int) -> Tensor:
        return sums


class SurveysForTheFirst(Fitted):
    def survey_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Tensor]:
        return [self.asking(questions[0]).survey(batch, model)] * len(questions)


class WeighsByTheFirst(Fitted):
    def explain_fitted_each(
        self, batch: Batch, model: Model, questions: Sequence[Question], fitted: Sequence[Tensor]
    ) -> list[Explanation]:
        return super().explain_fitted_each(batch, model, questions, [fitted[0]] * len(questions))


class FitsEveryShareAnew(Fitted):
    def explain_fitted(self, batch: Batch, model: Model, fitted: Tensor) -> Explanation:
        cells = batch.pixels.shape[2] * batch.pixels.shape[3]
        return super().explain_fitted(batch, model, self.survey(batch, model) / cells)


class Cellwise(CellwiseExplainer, Honest):
    name = "cellwise"


class LooksAtAllOfTheShare(Cellwise):
    def finished(self, values: Tensor, model: Model) -> Tensor:
        return values - values.mean()


class CountsEveryCellTwice(Fitted):
    def explain(self, batch: Batch, model: Model) -> Explanation:
        return self.explain_fitted(batch, model, self.survey(batch, model))

    def survey(self, batch: Batch, model: Model) -> Tensor:
        """Where `own_cells` should have been taken."""
        return batch.pixels.sum(dim=(2, 3))

    def fit(self, sums: Tensor, cells: int) -> Tensor:
        return sums


CASES = [
    (LooksAtAllOfTheShare, "test_cells_of_a_share_are_the_whole_images"),
    (CountsEveryCellTwice, "test_weights_from_the_sums_of_shares_are_the_whole_images"),
    (SquaresEveryShare, "test_contributions_of_shares_add_up_to_the_whole_images_map"),
    (MeetsOthersAsTheImage, "test_comparisons_of_shares_add_up_to_the_whole_images_map"),
    (ForgetsHowManyCells, "test_weights_from_the_sums_of_shares_are_the_whole_images"),
    (FitsEveryShareAnew, "test_weights_from_the_sums_of_shares_are_the_whole_images"),
    (AnswersSharesInReverse, "test_shares_answer_several_questions_as_one_by_one"),
    (ComparesForTheFirst, "test_shares_answer_several_questions_as_one_by_one"),
    (SurveysForTheFirst, "test_shares_answer_several_questions_as_one_by_one"),
    (WeighsByTheFirst, "test_shares_answer_several_questions_as_one_by_one"),
    (NamedForPeople, "test_name_and_kind_are_usable_on_a_command_line"),
    (Undocumented, "test_docstring_says_what_it_shows_and_when_it_misleads"),
    (Undescribed, "test_every_parameter_has_a_description"),
    (Drifting, "test_parameters_come_back_from_their_dump"),
    (Aliased, "test_parameters_have_a_json_schema"),
    (OnlyFromPython, "test_parameters_can_be_given_as_toml_and_as_flags"),
    (TakesAnything, "test_unknown_parameter_is_refused_with_a_hint"),
    (NotANumber, "test_returns_one_finite_map_an_image"),
    (KeepsTheGraph, "test_returns_one_finite_map_an_image"),
    (Misplaced, "test_cells_of_an_oblong_image_lie_on_it"),
    (Transposed, "test_cells_of_an_oblong_image_lie_on_it"),
    (Probabilities, "test_scores_are_the_models_for_the_targets"),
    (AsksForLogits, "test_a_probability_is_explained_where_it_is_asked_for"),
    (ForgetsWhatWasAsked, "test_a_probability_is_explained_where_it_is_asked_for"),
    (RemembersItsFirstTarget, "test_several_targets_at_once_equal_one_by_one"),
    (AnswersInReverse, "test_several_targets_at_once_equal_one_by_one"),
    (AnswersTheFirstOnly, "test_several_targets_at_once_equal_one_by_one"),
    (KnowsTheFirstTargetOnly, "test_several_targets_at_once_equal_one_by_one"),
    (Overflowing, "test_half_precision_gives_finite_values"),
    (OnePerCentOff, "test_exact_on_a_linear_model"),
    (Magnitude, "test_conserves_the_score_of_a_linear_model"),
    (Normalised, "test_values_are_not_normalised"),
    (NormalisedPerBatch, "test_values_are_not_normalised"),
    (NormalisedPerBatch, "test_batch_equals_images_one_by_one"),
    (LooksAtNeighbours, "test_batch_equals_images_one_by_one"),
    (GlobalNoise, "test_same_call_gives_same_bits"),
    (GlobalNoise, "test_global_random_state_is_left_alone"),
    (SeedsEverybody, "test_global_random_state_is_left_alone"),
    (IgnoresItsSeed, "test_another_seed_gives_another_sample"),
    (ConfusesErrorAndDeviation, "test_standard_error_tells_how_far_off_another_sample_is"),
    (CountsOnCancellation, "test_standard_error_tells_how_far_off_another_sample_is"),
    (HearsOtherThreads, "test_two_threads_explain_one_model_at_once"),
    (TrustsTheGradMode, "test_works_where_gradients_are_off"),
    (WritesIntoTheInput, "test_input_is_not_modified"),
    (TracksTheInput, "test_input_is_not_modified"),
    (LetsTheModelWrite, "test_model_that_writes_into_its_input_is_explained_all_the_same"),
    (LeaksAHook, "test_model_is_left_as_it_was_found"),
    (AccumulatesGradients, "test_model_is_left_as_it_was_found"),
    (FreezesParameters, "test_model_is_left_as_it_was_found"),
    (UpdatesStatistics, "test_model_is_left_as_it_was_found"),
    (ReplacesALayer, "test_model_is_left_as_it_was_found"),
    (SwitchesGradientsOff, "test_model_is_left_as_it_was_found"),
    (GoesBackToTraining, "test_model_in_training_mode_is_explained_in_evaluation_mode"),
]


def contract_of(method: type[Explainer]) -> type[ExplainerContract]:
    """The contract as the method's author would declare it."""

    class Contract(ExplainerContract):
        scales_with_score = True
        conserves = True

        def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
            return weight[target] * x

    Contract.method = method
    return Contract


@pytest.mark.parametrize(("broken", "check"), CASES, ids=lambda part: getattr(part, "__name__", part))
def test_broken_method_is_caught(broken: type[Explainer], check: str, run_check: Any) -> None:
    try:
        with pytest.raises((AssertionError, BoundaryError, UsageError, pytest.fail.Exception)):
            run_check(contract_of(broken), check)
    finally:
        torch.set_grad_enabled(True)


@pytest.mark.parametrize("check", sorted({check for _, check in CASES}))
def test_honest_method_passes(check: str, run_check: Any) -> None:
    chosen = {"seed": Sampled, "standard_error": Averaged, "contributions_of_shares": Summed, "sums_of_shares": Fitted}
    chosen |= {"comparisons_of_shares": Compared, "cells_of_a_share": Cellwise, "shares_answer": Compared}
    run_check(contract_of(next((method for part, method in chosen.items() if part in check), Honest)), check)


def test_every_check_catches_somebody(checks_of: Any) -> None:
    assert {check for _, check in CASES} == checks_of(ExplainerContract)


class Undeclared(ExplainerContract):
    method = Honest
    params: ClassVar = {}


@pytest.mark.parametrize(
    "check",
    [
        "test_exact_on_a_linear_model",
        "test_conserves_the_score_of_a_linear_model",
        "test_values_are_not_normalised",
        "test_another_seed_gives_another_sample",
        "test_standard_error_tells_how_far_off_another_sample_is",
        "test_contributions_of_shares_add_up_to_the_whole_images_map",
        "test_comparisons_of_shares_add_up_to_the_whole_images_map",
        "test_weights_from_the_sums_of_shares_are_the_whole_images",
        "test_cells_of_a_share_are_the_whole_images",
        "test_shares_answer_several_questions_as_one_by_one",
    ],
)
def test_what_is_not_declared_is_skipped_and_says_so(check: str, run_check: Any) -> None:
    with pytest.raises(pytest.skip.Exception, match=r"the class|the method"):
        run_check(Undeclared, check)
