"""Running a model with other maps in a layer's place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from xaipipe import Model, Question
from xaipipe.errors import InputError
from xaipipe.models.forward import Forward
from xaipipe.models.layers import NamedLayer, watch


class Replaced:
    """Scores of one image [1, C, H, W] as they would be if a layer put out something else.

    What comes before the layer is run once for all the variants where the network lets one image stand for many, which
    is tried out; else once for each.
    """

    def __init__(self, model: Model, layer: NamedLayer, pixels: Tensor, questions: Sequence[Question]) -> None:
        self._model, self._layer, self._pixels, self._questions = model, layer, pixels, questions
        self._runs = 0
        self._is_shared = False
        with watch(layer.module, self._count):
            model.ask(pixels, questions)

    def _count(self, output: Any) -> None:
        self._runs += 1

    def with_maps(self, maps: Tensor) -> Tensor:
        """[questions, B], for maps [B, …]."""
        return self._run(maps, self._is_shared)

    def share_front(self, maps: Tensor) -> None:
        """Find out, with the layer's own maps [1, …], whether one image can stand for many before the layer.

        Beside none at all, since a model that mixes what should be variants shows it only where they differ.
        """
        variants = torch.cat([maps, torch.zeros_like(maps)])
        try:
            found = self._run(variants, is_shared=True)
        except InputError:
            return
        right = self._run(variants, is_shared=False)
        size = right.abs().amax(dim=1, keepdim=True)
        self._is_shared = bool(((found - right).abs() <= _rounding(maps.dtype) * size).all())

    def _run(self, maps: Tensor, is_shared: bool) -> Tensor:
        count = len(maps)
        questions = [question.at([0] * count) for question in self._questions]
        pixels = self._pixels.expand(count, *self._pixels.shape[1:])

        def run(call: Forward, images: Tensor) -> Any:
            return call(images[:1] if is_shared else images)

        with watch(self._layer.module, self._at_last_run(maps)):
            return _scores(self._model.ask(pixels, questions, run))

    def _at_last_run(self, maps: Tensor) -> Callable[[Any], Any]:
        """A layer may run several times; the last one counts."""
        runs = 0

        def look(output: Any) -> Any:
            nonlocal runs
            runs += 1
            if runs < self._runs:
                return None
            return self._layer.layout.from_maps(maps, output.expand(len(maps), *output.shape[1:]))

        return look


def _rounding(kind: torch.dtype) -> float:
    """Of scores, as a share of their size: many roundings; few of a half precision, of which many would be all."""
    eps = torch.finfo(kind).eps
    return (4 if eps > torch.finfo(torch.float32).eps else 64) * eps


def _scores(answers: Sequence[Any]) -> Tensor:
    return torch.stack([answer.scores for answer in answers])
