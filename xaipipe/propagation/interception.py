"""Running a model's own forward pass with rules in the place of its operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaipipe.errors import UsageError
from xaipipe.models.weight_cache import WeightCache
from xaipipe.propagation.autocast import CASTED, as_now, autocasting, cast_and_run
from xaipipe.propagation.books import ABSORBERS
from xaipipe.propagation.calls import Call, slots_of, with_tensors
from xaipipe.propagation.function import OnlyChannels, ruled
from xaipipe.propagation.marks import Mark, merged
from xaipipe.propagation.names import Spelling, spelling
from xaipipe.propagation.operation import Operation
from xaipipe.propagation.operators import Decomposed, Described, Route, Surroundings, describer_of
from xaipipe.propagation.rules import InParts, Rules
from xaipipe.propagation.unknown import foreign, unknown_operator
from xaipipe.propagation.values import Values

_MARK = "_xaipipe_mark"
_WITHOUT_MEANING = {"size", "dim", "stride", "is_contiguous", "numel", "len", "data_ptr", "get_device", "bool"}


@dataclass(frozen=True, eq=False, slots=True)
class Sink:
    """Where an operation's books arrive: as the gradient of `amounts` [absorbers, N]."""

    operation: Operation
    amounts: Tensor


class Interception(TorchFunctionMode):
    """One forward pass of one model in one thread.

    Every operator with an operand that depends on the input goes through `_run`. Parameters are handed on without their
    gradient, so that the graph which is built leads to the input and nowhere else.
    """

    def __init__(
        self, module: nn.Module, rules: Rules, cache: WeightCache, images: int, layer: Callable[[], str]
    ) -> None:
        super().__init__()
        self._rules, self._images, self._layer = rules, images, layer
        self._values = Values()
        self._own = {id(t) for t in (*module.parameters(), *module.buffers())}
        self._surroundings = Surroundings(cache, self._own)
        self._root: Any = None
        self.sinks: list[Sink] = []
        self.undescribed: list[str] = []
        """Operators that nobody has described, and whose gradient was taken."""

    # -- marks ------------------------------------------------------------------------------------

    def begin(self, pixels: Tensor) -> None:
        """These are the input; they need a gradient and are no leaf."""
        self._root = pixels.grad_fn
        self.mark(pixels, Mark())

    def mark(self, tensor: Tensor, mark: Mark) -> None:
        setattr(tensor, _MARK, (self, mark))

    def mark_of(self, tensor: Tensor) -> Mark | None:
        owner, mark = getattr(tensor, _MARK, (None, None))
        return mark if owner is self else None

    def current(self, tensor: Tensor) -> Tensor:
        """What a tensor stands for, which the model may have written into since."""
        return self._values.current(tensor)

    def forget(self) -> None:
        self._values.forget()

    def passing(self, tensor: Tensor, channels: Sequence[int], layer: str) -> Tensor:
        """The tensor, through whose channels (dimension 1) only some let anything pass on the way back."""
        if not all(0 <= channel < tensor.shape[1] for channel in channels):
            raise UsageError(
                f"layer '{layer}' has no such channels", got=list(channels), expected=f"0 … {tensor.shape[1] - 1}"
            )
        passed: Tensor = OnlyChannels.apply(tensor, list(channels))  # type: ignore[no-untyped-call]
        return self._like(passed, tensor)

    def tapped(self, tensor: Tensor) -> Tensor:
        """A node of its own in the graph, at which the way back can end."""
        return self._like(tensor.view_as(tensor), tensor)

    def _like(self, new: Tensor, tensor: Tensor) -> Tensor:
        """Marked like another tensor, but nothing is folded into the layer before it: it is looked at here."""
        mark = self.mark_of(tensor)
        if mark is not None and new.requires_grad:
            self.mark(new, replace(mark, layer=None))
        return new

    # -- operators --------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = slots_of(args, kwargs)
        spelt = spelling(func)
        if not tensors or spelt.name in _WITHOUT_MEANING:
            return func(*args, **kwargs)
        now = [self._as_operand(tensor) for _, tensor in tensors]
        if any(new is not old for new, (_, old) in zip(now, tensors, strict=True)):
            args, kwargs = with_tensors(args, kwargs, [slot for slot, _ in tensors], now)
        dependent = [
            (slot, tensor, mark)
            for (slot, _), tensor in zip(tensors, now, strict=True)
            if (mark := self.mark_of(tensor)) is not None
        ]
        if not dependent:
            return func(*args, **kwargs)
        slots, operands, marks = zip(*dependent, strict=True)
        call = Call(as_now(func, operands[0]), spelt.name, args, kwargs, slots, operands, marks, self._layer())
        return self._write(call, spelt) if spelt.writes(args, kwargs) else self._run(call)

    def _run(self, call: Call) -> Any:
        if call.name in CASTED and autocasting(call.operands[0]):
            with self:
                return cast_and_run(call)
        describer = describer_of(call.name)
        found = describer(call, self._surroundings) if describer is not None else None
        if isinstance(found, Decomposed):
            with self:
                return found.run()
        if isinstance(found, Described):
            result, mark = self._ruled(call, found), found.mark
        else:
            result = call.function(*call.args, **call.kwargs)
            mark = merged(call.marks)
            if found is None and any(t.requires_grad for t in _tensors(result)):
                if self._rules.strict:
                    raise unknown_operator(call)
                self.undescribed.append(f"{call.name} in layer '{call.layer}'" if call.layer else call.name)
            if isinstance(found, Route) and found.nonnegative is not None:
                mark = mark.passed_on(found.nonnegative, mark.gate)
        self._note(call, result, mark)
        return result

    def _ruled(self, call: Call, found: Described) -> Any:
        rule = self._rules.rule_for(found.operation) if torch.is_grad_enabled() else None
        if rule is None:
            return call.function(*call.args, **call.kwargs)
        if isinstance(rule, InParts):
            assert found.operation.parts is not None
            with self:
                return found.operation.parts(*found.operands)
        first = found.operands[0]
        kind = torch.float64 if first.dtype == torch.float64 else torch.float32
        amounts = torch.zeros(len(ABSORBERS), self._images, dtype=kind, device=first.device, requires_grad=True)
        self.sinks.append(Sink(found.operation, amounts))
        result = ruled(found.operation, rule, found.operands, amounts, found.ready)
        rule.ran(found.operation, found.operands, result)
        return result if found.finish is None else found.finish(result)

    def _note(self, call: Call, result: Any, mark: Mark) -> None:
        """Mark what an operator made, and remember what it made views of."""
        for index, tensor in enumerate(_tensors(result)):
            if not tensor.requires_grad or any(tensor is operand for operand in call.operands):
                continue
            self.mark(tensor, mark)
            if tensor._is_view():
                self._values.note_view(tensor, call.operands[0], partial(_remade, call, index))

    def _write(self, call: Call, spelt: Spelling) -> Any:
        """An operator that writes into its first argument, without writing."""
        target = call.args[0]
        if spelt.function is not None:
            result = self._run(spelt.without_writing(call))
            if result.dtype != target.dtype:
                with self:
                    result = result.to(target.dtype)
        else:
            result = target.clone()
            self.mark(result, merged(call.marks))
            call.function(result, *call.args[1:], **call.kwargs)
        if result is not target:
            self._values.write(target, result)
        return result

    # -- operands ---------------------------------------------------------------------------------

    def _as_operand(self, tensor: Tensor) -> Tensor:
        """What a tensor stands for now; a parameter without its gradient."""
        tensor = self._values.current(tensor)
        if not tensor.requires_grad or self.mark_of(tensor) is not None:
            return tensor
        if tensor.is_leaf or not self._made_of_input(tensor):
            return self._constant(tensor)
        if self._rules.strict:
            raise foreign(tensor, self._layer())
        self.mark(tensor, Mark())
        return tensor

    def _constant(self, parameter: Tensor) -> Tensor:
        """One stand-in for each parameter, the same in every pass, since what is made of weights is kept by it."""
        if id(parameter) not in self._own:
            return parameter.detach()
        constant = self._surroundings.cache.constant(parameter)
        self._own.add(id(constant))
        return constant

    def _made_of_input(self, tensor: Tensor) -> bool:
        """Whether a gradient would get from a tensor to the input."""
        waiting, seen = [tensor.grad_fn], set()
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            if node is self._root:
                return True
            seen.add(node)
            waiting.extend(following for following, _ in node.next_functions)
        return False


def _remade(call: Call, index: int, base: Tensor) -> Tensor:
    """A view made of another base."""
    made: Tensor = _tensors(call.on(base, *call.operands[1:]))[index]
    return made


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [part for part in result if isinstance(part, Tensor)] if isinstance(result, tuple | list) else []
