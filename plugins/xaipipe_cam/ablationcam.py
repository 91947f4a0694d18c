"""Ablation-CAM: maps weighted by what the score loses without them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe import Model
from xaipipe_cam.layer_maps import LayerMaps
from xaipipe_cam.replaced import Replaced
from xaipipe_cam.trials import Trial, TrialExplainer, spread


class AblationCam(TrialExplainer):
    """Grad-CAM without gradients: w_k is what the score loses when map k is set to 0.

    The paper divides that by the score: one factor for all maps of an image, which makes images incomparable and turns
    every sign where the score is negative. Here it is left out. Maps that are 0 anyway need no trial.

    Misleads when: several maps hold the same evidence: without any one of them nothing is lost. And where 0 is no
    absence, as for maps in front of a rectifier.

    Example: `xaipipe.explain(model, x, method="ablationcam", target=281, layer="features.18")`

    Reference: Desai, Ramaswamy: Ablation-CAM, WACV 2020.
    """

    name = "ablationcam"

    @torch.no_grad()
    def weights_of_each(self, each: Sequence[LayerMaps], model: Model) -> list[Tensor]:
        maps = each[0].activation
        wide = torch.promote_types(maps.dtype, torch.float32)
        lost = maps.new_zeros(len(each), *maps.shape[:2], dtype=wide)
        for image in range(len(maps)):
            trials = [(image, k) for k in maps[image].flatten(1).any(dim=1).nonzero()[:, 0].tolist()]
            if trials:
                lost = spread(self._lost(each, image, trials, model), trials, lost)
        return list(lost)

    def _lost(self, each: Sequence[LayerMaps], image: int, trials: Sequence[Trial], model: Model) -> Tensor:
        """[questions, trials], of one image."""
        batch, own = each[0].batch, each[0].activation[image : image + 1]
        questions = [one.selection.settled.at([image]) for one in each]
        replaced = Replaced(model, each[0].place.layer, batch.pixels.detach()[image : image + 1], questions)
        replaced.share_front(own)

        def try_some(trials: Sequence[Trial]) -> Tensor:
            without = own.repeat(len(trials), 1, 1, 1)
            without[range(len(trials)), [k for _, k in trials]] = 0
            return replaced.with_maps(without)

        return replaced.with_maps(own) - self.scores(model, batch, trials, try_some)
