"""Score-CAM: maps weighted by the score of an image of which only they let anything through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from xaipipe import Model
from xaipipe.resample import to_pixels
from xaipipe_cam.layer_maps import LayerMaps
from xaipipe_cam.quick_forward import QuickForward
from xaipipe_cam.trials import Trial, TrialExplainer, spread


class ScoreCam(TrialExplainer):
    """Grad-CAM without gradients: w_k is the score of x ∘ H^k, H^k the map k at input resolution, from 0 to 1.

    Scores become weights by a softmax over the maps, or with `weighting = "increase"` by what they exceed the score of
    an all-zero image by. A map that is the same everywhere shows nothing; all of them share one trial an image.

    Misleads when: a dimmed image is one that the model has never seen; and through the softmax, which leaves next to
    nothing of any map but the best where logits are far apart, and weights maps that speak against the target too. All
    weights are positive, so that what the layer sees most of is bright, whatever the class.

    Example: `xaipipe.explain(model, x, method="scorecam", target=281, budget="2GiB")`

    Reference: Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu: Score-CAM, CVPR workshop 2020.
    """

    name = "scorecam"

    class Params(TrialExplainer.Params):
        weighting: Literal["softmax", "increase"] = Field("softmax", description="how scores become weights")

    def weights_of_each(self, each: Sequence[LayerMaps], model: Model) -> list[Tensor]:
        maps, batch = each[0].activation, each[0].batch
        questions = [one.selection.settled for one in each]
        shown = (maps.amax(dim=(2, 3)) > maps.amin(dim=(2, 3))).nonzero().tolist()
        quick = QuickForward(model, batch.pixels.detach()[:1])
        pixels = quick.in_order(batch.pixels.detach())
        blank = [(image, -1) for image in range(len(maps))]

        def try_some(trials: Sequence[Trial]) -> Tensor:
            images = [image for image, _ in trials]
            masked = pixels[images] * _masks(each[0], trials)
            answers = quick.ask(masked, [question.at(images) for question in questions])
            return torch.stack([answer.scores for answer in answers])

        trials = [*blank, *((image, k) for image, k in shown)]
        scores = self.scores(model, batch, trials, try_some, quick.held, whole=True)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        without = scores[:, : len(blank), None].expand(-1, -1, maps.shape[1])
        found = spread(scores[:, len(blank) :], trials[len(blank) :], without)
        return list(found.softmax(dim=2) if self.params.weighting == "softmax" else found - without)


def _masks(maps: LayerMaps, trials: Sequence[Trial]) -> Tensor:
    """[trials, 1, H, W] from 0 to 1; zeros for the map −1, which is none."""
    images, ks = ([trial[part] for trial in trials] for part in (0, 1))
    size = (int(maps.batch.pixels.shape[2]), int(maps.batch.pixels.shape[3]))
    large = to_pixels(maps.activation[images, ks][:, None], maps.place.grid, size)
    low, high = large.amin(dim=(2, 3), keepdim=True), large.amax(dim=(2, 3), keepdim=True)
    empty = (torch.tensor(ks, device=large.device) < 0)[:, None, None, None] | (high == low)
    masks = large.sub_(low).div_(torch.where(empty, torch.inf, high - low))
    return masks.to(maps.batch.pixels.dtype)
