"""The difference of two scores over the pixels: its map, summed over references, and whether it is all there."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

from xaipipe import Batch, Explanation, Grid
from xaipipe.errors import ExplanationWarning
from xaipipe.models.targets import Selection
from xaipipe_propagation.compared import Compared

_BOUNDS = {torch.float64: 1e-9, torch.float32: 1e-4}
"""How large a gap may be, as a share of the scores and of all that was handed out, whatever its sign."""
_COARSE = 5e-2
"""For the half precisions."""


class Difference:
    """Contributions to one question's scores; of several references, the mean."""

    def __init__(self, batch: Batch) -> None:
        self._batch, self._images = batch, len(batch.pixels)
        wide = torch.promote_types(batch.pixels.dtype, torch.float32)
        self._values = torch.zeros_like(batch.pixels, dtype=wide)
        self._reference_scores = batch.pixels.new_zeros(self._images, dtype=torch.float64)
        self._references = 0
        self._selection: Selection | None = None

    def add(self, found: Compared, references: Tensor) -> None:
        """All images with one reference each, then with another, and so on: [R · N, …]."""
        times = len(references) // self._images
        multipliers, references = (part.unflatten(0, (times, -1)) for part in (found.multipliers, references))
        self._values += (multipliers * (self._batch.pixels - references)).sum(dim=0)
        self._reference_scores += found.reference_scores.double().unflatten(0, (times, -1)).sum(dim=0)
        self._references += times
        self._selection = found.selection

    def explanation(self, said: dict[str, object], by_gradient: Iterable[str]) -> Explanation:
        selection, pixels = self._selection, self._batch.pixels
        assert selection is not None
        values = self._values / self._references
        scores, reference_scores = selection.scores.detach()[: self._images], self._reference_scores / self._references
        gaps = scores.double() - reference_scores - values.double().sum(dim=(1, 2, 3))
        asked = {
            name: value[: self._images] if isinstance(value, list) else value for name, value in selection.asked.items()
        }
        explanation = Explanation(
            values=values.to(pixels.dtype),
            grid=Grid(),
            targets=selection.targets[: self._images],
            scores=scores,
            input_size=(int(pixels.shape[2]), int(pixels.shape[3])),
            diagnostics={
                **asked,
                **said,
                "references": self._references,
                "reference_scores": reference_scores.tolist(),
                "gap": gaps.tolist(),
                **({"by_gradient": list(by_gradient)} if by_gradient else {}),
            },
            tiles=self._batch.tiles,
        )
        size = scores.double().abs() + reference_scores.abs() + values.double().abs().sum(dim=(1, 2, 3))
        self._warn(explanation, gaps, _BOUNDS.get(pixels.dtype, _COARSE) * size)
        return explanation

    def _warn(self, explanation: Explanation, gaps: Tensor, bounds: Tensor) -> None:
        """Of the image whose gap exceeds its bound the most."""
        over = (gaps.abs() - bounds).tolist()
        worst = max(range(len(over)), key=over.__getitem__)
        if over[worst] <= 0:
            return
        image = str(self._batch.tiles[worst]) if self._batch.tiles else f"image {worst}"
        by_gradient = explanation.diagnostics.get("by_gradient")
        blame = (
            f"taken by their gradient: {', '.join(by_gradient)}"
            if by_gradient
            else "the model compares, sorts or chooses by value somewhere, or the precision is too low"
        )
        warnings.warn(
            f"deeplift: the map of {image}, target {explanation.targets[worst]}, does not sum to the difference of the "
            f"scores: {float(gaps[worst]):.3g} is missing, {float(bounds[worst]):.1g} would be rounding; {blame}",
            ExplanationWarning,
            stacklevel=2,
        )
