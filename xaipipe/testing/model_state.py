"""Everything about a model that explaining it must leave alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

_HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


@dataclass(frozen=True)
class ModelState:
    """A picture of a model, to be compared with a later one."""

    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, model: nn.Module) -> ModelState:
        return cls(_facts(model), {name: tensor.detach().clone() for name, tensor in _tensors(model).items()})

    def assert_unchanged(self, model: nn.Module) -> None:
        later = _facts(model)
        changed = sorted(name for name in self.facts | later if self.facts.get(name) != later.get(name))
        assert not changed, f"changed: {', '.join(changed)}"
        tensors = _tensors(model)
        assert tensors.keys() == self.tensors.keys(), f"changed: {sorted(tensors.keys() ^ self.tensors.keys())}"
        differing = [name for name, before in self.tensors.items() if not _same_bits(before, tensors[name])]
        assert not differing, f"changed: {', '.join(differing)}"


def _facts(model: nn.Module) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "gradients are recorded": torch.is_grad_enabled(),
        "global forward hooks": len(torch_module._global_forward_hooks),
        "global backward hooks": len(torch_module._global_backward_hooks),
    }
    for name, part in model.named_modules():
        label = name or "the model"
        facts[f"{label}: module"] = (id(part), type(part))
        facts[f"{label}: training"] = part.training
        facts[f"{label}: own attributes"] = sorted(vars(part))
        for hooks in _HOOKS:
            facts[f"{label}: {hooks[1:]}"] = len(getattr(part, hooks))
    for name, parameter in model.named_parameters():
        facts[f"{name}: requires_grad"] = parameter.requires_grad
        facts[f"{name}: hooks"] = len(parameter._backward_hooks or ())
    return facts


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    gradients = {f"{name}.grad": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return tensors | gradients


def _same_bits(before: Tensor, after: Tensor) -> bool:
    return before.dtype == after.dtype and before.shape == after.shape and before.equal(after)
