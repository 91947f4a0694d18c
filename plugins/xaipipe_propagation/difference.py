"""The difference of two scores over the pixels: its map, summed over references, and whether it is all there."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from xaipipe import Batch, Explanation, Grid
from xaipipe.doubts import doubt, named
from xaipipe.models.targets import Selection
from xaipipe_propagation.compared import Compared

_SHARE = 0.01
"""Of the difference, which may be missing."""
_ROUNDINGS, _COARSE_ROUNDINGS = 64, 1
"""How many roundings of everything that was added up may be missing; of a half precision, in which operators add up
exactly and round once, stock networks under autocast lack 0.2 at most."""
_CANCELLING = 1e4
"""Contributions that are larger than this many times the scores cancel each other, and with them what they say."""


class Difference:
    """Contributions to one question's scores; of several references, the mean."""

    def __init__(self, batch: Batch) -> None:
        self._batch, self._images = batch, len(batch.pixels)
        wide = torch.promote_types(batch.pixels.dtype, torch.float32)
        self._values = torch.zeros_like(batch.pixels, dtype=wide)
        self._reference_scores = batch.pixels.new_zeros(self._images, dtype=torch.float64)
        self._references = 0
        self._selection: Selection | None = None
        self._rounding = 0.0

    def add(self, found: Compared, references: Tensor) -> None:
        """All images with one reference each, then with another, and so on: [R · N, …]."""
        times = len(references) // self._images
        multipliers, references = (part.unflatten(0, (times, -1)) for part in (found.multipliers, references))
        self._values += (multipliers * (self._batch.pixels - references)).sum(dim=0)
        self._reference_scores += found.reference_scores.double().unflatten(0, (times, -1)).sum(dim=0)
        self._references += times
        self._selection, self._rounding = found.selection, found.rounding

    def explanation(self, said: dict[str, object], by_gradient: Iterable[str]) -> Explanation:
        """Of whole images, whose values sum to the difference."""
        explanation = self.of_share(said, by_gradient)
        scores = explanation.scores.double()
        values, reference_scores = (total / self._references for total in (self._values, self._reference_scores))
        gaps = scores - reference_scores - values.double().sum(dim=(1, 2, 3))
        explanation = explanation.replace(diagnostics={**explanation.diagnostics, "gap": gaps.tolist()})
        self._warn(explanation, gaps, scores - reference_scores, reference_scores)
        return explanation

    def of_share(self, said: dict[str, object], by_gradient: Iterable[str]) -> Explanation:
        """Of shares: their values sum to a part of the difference that nobody knows."""
        selection, pixels = self._selection, self._batch.pixels
        assert selection is not None
        asked = {
            name: value[: self._images] if isinstance(value, list) else value for name, value in selection.asked.items()
        }
        return Explanation(
            values=(self._values / self._references).to(pixels.dtype),
            grid=Grid(),
            targets=selection.targets[: self._images],
            scores=selection.scores.detach()[: self._images],
            input_size=(int(pixels.shape[2]), int(pixels.shape[3])),
            diagnostics={
                **asked,
                **said,
                "references": self._references,
                "reference_scores": (self._reference_scores / self._references).tolist(),
                **({"by_gradient": tuple(by_gradient)} if by_gradient else {}),
            },
            tiles=self._batch.tiles,
        )

    def _warn(self, explanation: Explanation, gaps: Tensor, differences: Tensor, reference_scores: Tensor) -> None:
        """Of the images whose gap exceeds its bound."""
        scores = explanation.scores.double().abs() + reference_scores.abs()
        handed_out = explanation.values.double().abs().sum(dim=(1, 2, 3))
        size = scores + torch.minimum(handed_out, _CANCELLING * scores)
        roundings = _COARSE_ROUNDINGS if self._rounding > torch.finfo(torch.float32).eps else _ROUNDINGS
        bounds = _SHARE * differences.abs() + roundings * self._rounding * size

        def blame(image: int) -> str:
            if by_gradient := explanation.diagnostics.get("by_gradient"):
                return f"taken by their gradient: {', '.join(by_gradient)}"
            if bool(handed_out[image] > _CANCELLING * scores[image]):
                return f"contributions of {float(handed_out[image]):.1g} cancel: choose another reference, or float64"
            return "the model chooses by value somewhere (where, sort, topk, a mask, detach), which is not followed"

        def text(image: int) -> str:
            return (
                f"deeplift: the map of {named(self._batch, image)}, target {explanation.targets[image]}, does not sum "
                f"to the difference of the scores, {float(differences[image]):.3g}: {float(gaps[image]):.2g} is "
                f"missing; {blame(image)}"
            )

        excess = (gaps.abs() - bounds).tolist()
        doubt("deeplift: a gap to the difference", self._batch, excess, text, explanation.targets)
