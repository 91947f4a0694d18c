"""A plugin for xaipipe with one method."""

import torch

from xaipipe import Batch, Explainer, Explanation, Grid, Model, hookimpl


class GradientNorm(Explainer):
    """How strongly the score reacts to each pixel: ‖∂y/∂x‖₂ over the channels, never negative.

    Misleads when: the score is saturated, where gradients vanish although the evidence is there.

    Example: `xaipipe.explain(model, x, method="gradient_norm", target=281)`

    Reference: Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks, 2013; there with the largest channel.
    """

    name = "gradient_norm"

    def explain(self, batch: Batch, model: Model) -> Explanation:
        pixels = batch.pixels.detach().requires_grad_()
        with torch.enable_grad():
            selection = model.score(pixels, self.params.question)
            (gradient,) = torch.autograd.grad(selection.scores.sum(), pixels)
        return Explanation(
            values=torch.linalg.vector_norm(gradient, dim=1, keepdim=True),
            grid=Grid(),
            targets=selection.targets,
            scores=selection.scores.detach(),
            input_size=tuple(pixels.shape[2:]),
            diagnostics=selection.asked,
            tiles=batch.tiles,
        )


@hookimpl
def xaipipe_methods() -> list[type[Explainer]]:
    return [GradientNorm]
