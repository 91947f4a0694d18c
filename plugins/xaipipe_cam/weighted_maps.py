"""The bases of methods that weight a layer's maps and add them up."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from xaipipe import Batch, Explanation, FittedExplainer, Model, Question
from xaipipe_cam.layer_maps import LayerMaps, LayerReader, explanation, require_one_layer


def weighted_sum(weights: Tensor, maps: Tensor) -> Tensor:
    """Σ_k w_k A^k, of weights [N, K] and maps [N, K, h, w]: [N, 1, h, w]."""
    return torch.einsum("nk,nkij->nij", weights.to(maps.dtype), maps)[:, None]


class Weighted(LayerReader):
    """ReLU(Σ_k w_k A^k), with a weight for each of the layer's maps."""

    class Params(LayerReader.Params):
        signed: bool = Field(False, description="keep what speaks against the target too (no ReLU)")

    @abstractmethod
    def weights_of_each(self, each: Sequence[LayerMaps], model: Model) -> list[Tensor]:
        """[N, K] for every question."""

    def values_of_each(self, each: Sequence[LayerMaps], model: Model) -> list[Tensor]:
        weights = self.weights_of_each(each, model)
        return [self.weighted(own, maps.activation) for own, maps in zip(weights, each, strict=True)]

    def weighted(self, weights: Tensor, maps: Tensor) -> Tensor:
        values = weighted_sum(weights, maps)
        return values if self.params.signed else torch.relu(values)


class WeightedExplainer(Weighted):
    """Weights that come from the activation and one question's gradient."""

    @abstractmethod
    def weights(self, maps: LayerMaps) -> Tensor:
        """[N, K]"""

    def weights_of_each(self, each: Sequence[LayerMaps], model: Model) -> list[Tensor]:
        return [self.weights(maps) for maps in each]


class SummedWeightsExplainer(WeightedExplainer, FittedExplainer):
    """Weights that come from sums over a map's cells, to which the tiles of a slide add up.

    `fit` makes them of the sums [N, …].
    """

    @abstractmethod
    def sums(self, maps: LayerMaps) -> Tensor:
        """[N, …]"""

    def weights(self, maps: LayerMaps) -> Tensor:
        return self.fit(self.sums(maps), maps.cells)

    def survey(self, batch: Batch, model: Model) -> Tensor:
        return self.survey_each(batch, model, [self.params.question])[0]

    def survey_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Tensor]:
        return [self.sums(maps) for maps in self._of_layer(batch, model, questions)]

    def explain_fitted(self, batch: Batch, model: Model, fitted: Tensor) -> Explanation:
        return self.explain_fitted_each(batch, model, [self.params.question], [fitted])[0]

    def explain_fitted_each(
        self, batch: Batch, model: Model, questions: Sequence[Question], fitted: Sequence[Tensor]
    ) -> list[Explanation]:
        each = self._of_layer(batch, model, questions, gradient=False)
        pairs = zip(each, fitted, strict=True)
        return [explanation([maps], [self.weighted(weights, maps.activation)]) for maps, weights in pairs]

    def require_exact(self) -> None:
        require_one_layer(self)

    def _of_layer(
        self, batch: Batch, model: Model, questions: Sequence[Question], gradient: bool = True
    ) -> list[LayerMaps]:
        return self.layer_maps(batch, model, questions, gradient)[0]


class SlopeSumExplainer(SummedWeightsExplainer):
    """Weights that come from the gradient's sum over a map, [N, K]."""

    def sums(self, maps: LayerMaps) -> Tensor:
        return maps.slope.sum(dim=(2, 3))
