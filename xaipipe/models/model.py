"""A model as stages see it: a module, what its inputs and outputs mean, and its identity."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from xaipipe.errors import InputError
from xaipipe.models.forward import Runner, as_it_is, forward
from xaipipe.models.outputs import chosen_output
from xaipipe.models.preprocess import Preprocess
from xaipipe.models.scores import select
from xaipipe.models.targets import Question, Selection
from xaipipe.models.weight_cache import WeightCache


class NotFiniteError(InputError):
    """The model answered NaN or infinity for some images of a batch."""

    def __init__(self, source: str, images: tuple[int, ...], batch: int) -> None:
        self.images = images
        super().__init__(
            "the model returned NaN or infinity",
            got=f"image {', '.join(map(str, images))} of a batch of {batch}",
            expected="finite scores",
            where=source,
            hint="check the weights and the preprocessing (mean, std, value range)",
        )

    def about(self, images: Sequence[int], batch: int) -> NotFiniteError:
        """The same of the images that a method made those of: `images` says of each which."""
        own = tuple(sorted({images[image] for image in self.images}))
        told = NotFiniteError(str(self.facts["where"]), own, batch)
        told.facts["got"] = f"{told.facts['got']}, changed by the method"
        return told


@dataclass(frozen=True, eq=False)
class Model:
    """A PyTorch module with everything that is needed to explain it."""

    module: nn.Module
    preprocess: Preprocess | None = None
    labels: tuple[str, ...] = ()
    source: str = "a module"
    output: int | str | None = None
    """Which output is explained, where the module returns several: a key, a position, a dotted path of them."""
    weights: WeightCache | None = field(default=None, repr=False)
    """Where backward methods keep what they made of the module's weights; None: nowhere, it is made anew each time.

    torch does not say of every change of a weight that it happened (`parameter.data.mul_`, the running statistics of a
    norm in training). So this is set for one call of `explain`, or one run, within which weights stay as they are;
    whoever knows that they do so for longer gives a `WeightCache` of his own."""

    @classmethod
    def of(cls, module: nn.Module, output: int | str | None = None) -> Model:
        """A module from Python; its attribute `labels`, where it has one, names its outputs."""
        return cls(module, labels=own_labels(module), source=type(module).__name__, output=output)

    @cached_property
    def fingerprint(self) -> str:
        """Of every parameter and buffer: two models with the same weights have the same."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            if isinstance(tensor, Tensor):
                raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(raw)
        return digest.hexdigest()

    @property
    def device(self) -> torch.device:
        """Where the model's weights lie; the CPU where it has none."""
        first = next(chain(self.module.parameters(), self.module.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the model's weights; float32 where it has none."""
        tensors = (t for t in (*self.module.parameters(), *self.module.buffers()) if t.is_floating_point())
        return next((tensor.dtype for tensor in tensors), torch.float32)

    def label(self, target: int | str) -> str:
        """A target's name where the model has labels."""
        if isinstance(target, int) and target < len(self.labels):
            return self.labels[target]
        return str(target)

    def answer(self, pixels: Tensor) -> Any:
        """What the module returns."""
        return self.module(pixels)

    def outputs(self, pixels: Tensor, run: Runner = as_it_is) -> Tensor:
        """The model's answer [N, …], or what `output` names of it, checked for type and finiteness."""
        outputs = chosen_output(forward(self.answer, pixels, self.source, run), self.output, self.source)
        if not isinstance(outputs, Tensor) or outputs.shape[:1] != pixels.shape[:1] or not outputs.numel():
            got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise InputError(
                "the model's output has the wrong shape",
                got=got,
                expected=f"a tensor ({len(pixels)}, classes), or another with {len(pixels)} answers",
                where=self.source,
                hint="wrap the model in a module that returns its logits",
            )
        if not outputs.is_floating_point():
            raise InputError(
                "the model's output has no gradient",
                got=outputs.dtype,
                expected="floating point",
                where=self.source,
                hint="return the scores themselves, not their argmax",
            )
        finite = torch.isfinite(outputs.detach()).reshape(len(outputs), -1).all(dim=1)
        if not finite.all():
            bad = (~finite).nonzero()[:, 0].tolist()
            raise NotFiniteError(self.source, tuple(bad), len(outputs))
        return outputs

    def score(self, pixels: Tensor, question: Question | int | str | Callable[[Tensor], Tensor]) -> Selection:
        """What a question (or a bare target) asks of every image, differentiable with respect to the pixels."""
        return self.ask(pixels, (question,))[0]

    def ask(
        self,
        pixels: Tensor,
        questions: Sequence[Question | int | str | Callable[[Tensor], Tensor]],
        run: Runner = as_it_is,
    ) -> tuple[Selection, ...]:
        """The answers to several questions, from one forward pass; `run` runs the module, where not as it is."""
        outputs = self.outputs(pixels, run)
        return tuple(select(outputs, Question.of(one), self.labels, self.source) for one in questions)


def own_labels(module: nn.Module) -> tuple[str, ...]:
    """The names of a module's outputs, where its attribute `labels` lists them."""
    labels = getattr(module, "labels", ())
    named = isinstance(labels, list | tuple) and all(isinstance(label, str) for label in labels)
    return tuple(labels) if named else ()


@contextmanager
def as_found(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; on leaving, every submodule's mode is what it was.

    Threads can share a model: the first one in sets the mode, the last one out restores it.
    """
    with _guard:
        users, training = _in_use.get(module) or (0, [part for part in module.modules() if part.training])
        _in_use[module] = (users + 1, training)
        for part in training:
            part.training = False
    try:
        yield
    finally:
        with _guard:
            users, training = _in_use.pop(module)
            if users > 1:
                _in_use[module] = (users - 1, training)
            else:
                for part in training:
                    part.training = True


_guard = threading.Lock()
_in_use: WeakKeyDictionary[nn.Module, tuple[int, list[nn.Module]]] = WeakKeyDictionary()
"""How many threads explain a model now, and which of its parts were in training mode before the first."""
