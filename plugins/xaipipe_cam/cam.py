"""CAM: the maps in front of a global average pooling, weighted by the linear layer behind it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xaipipe import Batch, Model, Question
from xaipipe.errors import UsageError
from xaipipe.models.places import Place
from xaipipe.propagation.layer_pass import LayerPass, pass_from
from xaipipe_cam.layer_maps import LayerReader
from xaipipe_cam.pooled_head import PooledHead
from xaipipe_cam.weighted_maps import SlopeSumExplainer, weighted_sum


class Cam(SlopeSumExplainer):
    """What each cell contributes to the class: Σ_k w_k A^k, w the class's row of the linear layer; signed.

    The mean of an image's values is its score without the bias. Of a probability, or of a callable, w is what the
    chain rule makes of all rows. Activations between the layer and the pooling are part of the maps.

    Misleads when: cells are taken for what they show. Each has seen far more of the image than it covers.

    Example: `xaipipe.explain(model, x, method="cam", target=281)`

    Reference: Zhou, Khosla, Lapedriza, Oliva, Torralba: Learning deep features for discriminative localization, 2016.
    """

    name = "cam"
    Params = LayerReader.Params

    def recorded(
        self, batch: Batch, model: Model, questions: Sequence[Question], places: Sequence[Place]
    ) -> tuple[LayerPass, Sequence[Tensor]]:
        names = [place.layer.name for place in places]
        if len(names) > 1:
            raise UsageError("cam explains the maps that are pooled, which is one layer", got=", ".join(names))
        head = PooledHead()
        passed = pass_from(model, batch.pixels, questions, [places[0].layer], head)
        return passed, [head.pooled(passed)]

    def fit(self, sums: Tensor, cells: int) -> Tensor:
        """Every cell has the weight over the number of cells as its gradient."""
        return sums

    def weighted(self, weights: Tensor, maps: Tensor) -> Tensor:
        return weighted_sum(weights, maps)
