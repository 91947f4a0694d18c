"""FullGrad: the score as gradient times input, and what every bias adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from xaipipe import Batch, Explainer, ExplainerParams, Explanation, Grid, Model, Question
from xaipipe.doubts import doubt, named
from xaipipe.models.scores import select
from xaipipe.models.targets import Selection
from xaipipe.propagation import Pulled, pull_back
from xaipipe_cam.bias_gradients import Arrived, BiasGradients, TracedModel
from xaipipe_cam.deposits import deposited

_SHARE = 0.01
"""Of all contributions' absolute values, which may be missing from their sum."""


class FullGrad(Explainer):
    """All that a score is made of: x ∘ ∂y/∂x at the pixels, b ∘ ∂y/∂o at every operator with a bias, put where it lies.

    Biases are those of operators as they ran, functional ones and batch norms too, and of what is no straight line
    through zero (a sigmoid, a softmax), what its tangent misses there. Each cell's contribution is shared out among the
    pixels that it lies between. `signed`, they sum to the score: `input`, `biases` and `unplaced`, which lies nowhere
    (the biases of a linear layer), are in the diagnostics, and `completeness_gap` is what is missing. Without, the
    paper's sum of absolute values, but for its rescaling of every map, which would make images incomparable.

    Misleads when: it is asked which class: absolute values hide what speaks against it. And in networks with norms over
    their input, whose whole score is in biases.

    Example: `xaipipe.explain(model, x, method="fullgrad", target=281, signed=True)`

    Reference: Srinivas, Fleuret: Full-gradient representation for neural network visualization, NeurIPS 2019.
    """

    name = "fullgrad"

    class Params(ExplainerParams):
        signed: bool = Field(False, description="contributions, which sum to the score, in place of absolute values")

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return self.explain_each(batch, model, [self.params.question])[0]

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        traced = TracedModel.like(model)
        biases = BiasGradients(traced.tracer, magnitude=not self.params.signed)
        pulled = pull_back(traced, batch.pixels, questions, biases)
        arrived = biases.arrived(len(questions))
        if arrived is None:  # some of the targets had to go back by themselves
            return [self.explain_each(batch, model, [question])[0] for question in questions]
        return [self._explanation(batch, model, one, _of_question(arrived, k)) for k, one in enumerate(pulled)]

    def _explanation(self, batch: Batch, model: Model, pulled: Pulled, biases: Sequence[Arrived]) -> Explanation:
        pixels, selection = batch.pixels.detach(), pulled.selection
        products = pixels * pulled.values
        values = (products if self.params.signed else products.abs()).sum(dim=1, keepdim=True)
        size = (int(pixels.shape[2]), int(pixels.shape[3]))
        for one in biases:
            if one.maps is not None:
                values = values + deposited(one.maps, one.grid, size)[:, None]
        sums = {
            "input": products.sum(dim=(1, 2, 3)),
            "biases": sum((one.totals for one in biases if one.maps is not None), pixels.new_zeros(len(pixels))),
            "unplaced": sum((one.totals for one in biases if one.maps is None), _beyond(selection, model)),
        }
        gap = selection.scores - sum(sums.values())
        self._doubt(batch, gap, selection, products.abs().sum(dim=(1, 2, 3)), biases)
        facts = {**{name: total.tolist() for name, total in sums.items()}, "completeness_gap": gap.tolist()}
        return Explanation(
            values=values.to(pixels.dtype),
            grid=Grid(),
            targets=selection.targets,
            scores=selection.scores,
            input_size=size,
            diagnostics={**selection.asked, **facts},
            tiles=batch.tiles,
        )

    def _doubt(
        self, batch: Batch, gap: Tensor, selection: Selection, products: Tensor, biases: Sequence[Arrived]
    ) -> None:
        size = products + sum(one.totals.abs() for one in biases) + selection.scores.abs()
        bound = max(_SHARE, torch.finfo(gap.dtype).eps ** 0.5) * size

        def text(image: int) -> str:
            return (
                f"{self.name}: contributions of {named(batch, image)}, target {selection.targets[image]}, miss "
                f"{float(gap[image]):.2g} of the score {float(selection.scores[image]):.4g}: an operator of the model "
                "is not described; xaipipe.propagation.register makes it known"
            )

        excess = (gap.abs() - bound).tolist()
        doubt(f"{self.name}: a gap to the score", batch, excess, text, selection.targets)


def _of_question(arrived: Sequence[Arrived], k: int) -> list[Arrived]:
    return [replace(one, totals=one.totals[k], maps=None if one.maps is None else one.maps[k]) for one in arrived]


def _beyond(selection: Selection, model: Model) -> Tensor:
    """What the score is beyond the model's output times its gradient: nothing for a logit."""
    with torch.enable_grad():
        outputs = selection.outputs.detach().requires_grad_()
        scores = select(outputs, selection.settled, model.labels).scores
        (slope,) = torch.autograd.grad(scores.sum(), outputs)
    return scores.detach() - (slope * outputs.detach()).reshape(len(outputs), -1).sum(dim=1)
