"""Running a model's own forward pass with rules in the place of its operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaipipe.errors import UsageError
from xaipipe.models.weight_cache import WeightCache
from xaipipe.propagation.audit import Audit
from xaipipe.propagation.autocast import CASTED, as_now, autocasting, cast_and_run
from xaipipe.propagation.calls import Call, Slot, slots_of, with_tensors
from xaipipe.propagation.checkpoints import Checkpoints
from xaipipe.propagation.function import OnlyChannels, Overwritten
from xaipipe.propagation.graph import is_rerun, reaches, reads
from xaipipe.propagation.marks import Mark, Marks, merged
from xaipipe.propagation.names import RESHAPING, Spelling, spelling
from xaipipe.propagation.operation import Operation
from xaipipe.propagation.operators import Decomposed, Described, Route, Surroundings, describer_of
from xaipipe.propagation.positions import laid_out_like
from xaipipe.propagation.rules import InParts, Rules
from xaipipe.propagation.ruling import Ruling
from xaipipe.propagation.since_input import since_input
from xaipipe.propagation.unknown import foreign, overwritten, reshaped, unknown_operator
from xaipipe.propagation.values import Values

_ALIASES = {"detach", "data"}
"""Operators whose result shows the same memory without a gradient."""


class Interception(TorchFunctionMode):
    """One forward pass of one model in one thread.

    Every operator with an operand that depends on the input goes through `_run`. Parameters are handed on without their
    gradient, so that the graph which is built leads to the input and nowhere else.
    """

    def __init__(
        self,
        module: nn.Module,
        rules: Rules,
        cache: WeightCache,
        images: int,
        layer: Callable[[], str],
        several: bool = False,
        merges: bool = False,
    ) -> None:
        super().__init__()
        self._rules, self._layer, self._several = rules, layer, several
        self.marks = Marks()
        self.ruling = Ruling(rules, images, self.marks, merges)
        self._own = {id(t): t for t in (*module.parameters(), *module.buffers())}
        cache.forget_all_but(self._own)
        self._values = Values(self._made_of, self._own)
        self._surroundings = Surroundings(cache, self._own)
        self._checkpoints = Checkpoints()
        self._root: Any = None
        self.saw_foreign = False
        self.undescribed: list[str] = []
        """Operators that nobody has described, and whose gradient was taken."""

    # -- marks ------------------------------------------------------------------------------------

    def begin(self, pixels: Tensor) -> None:
        """These are the input; they need a gradient and are no leaf."""
        self._root = pixels.grad_fn
        self.marks.put(pixels, Mark(since_input=()))

    def current(self, tensor: Tensor) -> Tensor:
        """What a tensor stands for, which the model may have written into since; refused where that is unknown."""
        return self._operand(tensor)[0] if tensor.requires_grad else self._values.current(tensor)

    def forget(self) -> None:
        self._values.forget()

    def passing(self, tensor: Tensor, channels: Sequence[int], layer: str) -> Tensor:
        """The tensor, through whose channels (dimension 1) only some let anything pass on the way back."""
        if not all(0 <= channel < tensor.shape[1] for channel in channels):
            raise UsageError(
                f"layer '{layer}' has no such channels", got=list(channels), expected=f"0 … {tensor.shape[1] - 1}"
            )
        passed: Tensor = OnlyChannels.apply(tensor, list(channels))  # type: ignore[no-untyped-call]
        mark = self.marks.of(tensor)
        if mark is not None:
            self.marks.put(passed, replace(mark, through=tuple(channels)))
        return passed

    def tapped(self, tensor: Tensor) -> Tensor:
        """A node of its own in the graph, at which the way back can end; nothing is folded into the layer before it."""
        tapped = tensor.view_as(tensor)
        mark = self.marks.of(tensor)
        if mark is not None:
            self.marks.put(tapped, replace(mark, maker=None))
        return tapped

    def _made_of(self, new: Tensor, sources: Sequence[Tensor]) -> None:
        """Of values that were put together outside of any operator."""
        marks = tuple(mark for mark in map(self.marks.of, sources) if mark is not None)
        if marks:
            mark = merged(marks)
            self.marks.put(new, mark.passed_on(mark.nonnegative and len(marks) == len(sources)))

    # -- operators --------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        spelt = spelling(func)
        if spelt.is_about or self._root is None:  # before `begin` nothing depends on the input
            return func(*args, **kwargs)
        if kwargs:
            args, kwargs = spelt.in_order(args, kwargs)
        slots: list[Slot] = []
        operands: list[Tensor] = []
        marks: list[Mark] = []
        constants: list[Tensor] = []
        changed: list[tuple[Slot, Tensor]] = []
        for slot, tensor in slots_of(args, kwargs):
            now, mark = self._operand(tensor)
            if now is not tensor:
                changed.append((slot, now))
            if mark is None:
                constants.append(now)
            else:
                slots.append(slot)
                operands.append(now)
                marks.append(mark)
        if changed:
            args, kwargs = with_tensors(args, kwargs, [slot for slot, _ in changed], [now for _, now in changed])
        writes = spelt.writes(args, kwargs)
        if not operands and not (writes and self._shows_operand(args[0])):
            return func(*args, **kwargs)
        call = Call(
            func, spelt.name, args, kwargs, tuple(slots), tuple(operands), tuple(marks), tuple(constants),
            self._layer(),
        )  # fmt: skip
        with self._checkpoints.switched_off():
            return self._write(call, spelt) if writes else self._run(call)

    def _run(self, call: Call) -> Any:
        if autocasting(call.operands[0]):
            if call.name in CASTED:
                with self:
                    return cast_and_run(call)
            call = replace(call, function=as_now(call.function, call.operands[0]))
        describer = describer_of(call.name)
        found = describer(call, self._surroundings) if describer is not None else None
        if isinstance(found, Route) and isinstance(self._rules, Audit):
            found = self._rules.of_route(call, found)
        if isinstance(found, Decomposed) and self._is_taken_apart(call, found):
            with self:
                return found.run()
        if isinstance(found, Described):
            result, mark = self._ruled(call, found)
        else:
            result = call.function(*call.args, **call.kwargs)
            if found is None and any(t.requires_grad for t in _tensors(result)):
                if self._rules.strict:
                    raise unknown_operator(call)
                self.undescribed.append(f"{call.name} in layer '{call.layer}'" if call.layer else call.name)
                self.ruling.look_after_zeros(call)
            mark = _moved(call, found)
        self._note(call, result, since_input(call, found, result, mark))
        return result

    def _is_taken_apart(self, call: Call, found: Decomposed) -> bool:
        """Whether anybody looks at the parts; torch's own gradient of the whole is not batched."""
        if self._rules.strict or self._several or not found.parts:
            return True
        probes = (Operation(kind=kind, name=kind, run=call.function, layer=call.layer) for kind in found.parts)
        return any(self._rules.rule_for(probe) is not None for probe in probes)

    def _ruled(self, call: Call, found: Described) -> tuple[Any, Mark]:
        rule = self.ruling.rule_for(call, found)
        if rule is None:
            return call.function(*call.args, **call.kwargs), found.mark
        if isinstance(rule, InParts):
            assert found.operation.parts is not None
            with self:
                return found.operation.parts(*found.operands), found.mark
        return self.ruling.run(call, found, rule)

    def _note(self, call: Call, result: Any, mark: Mark) -> None:
        """Mark what an operator made, and remember what it made views of."""
        for index, tensor in enumerate(_tensors(result)):
            if any(tensor is operand for operand in call.operands):
                continue
            self.marks.put(tensor, mark)
            if tensor._is_view() or (call.name in _ALIASES and not tensor.requires_grad):
                position = _looked_into(tensor, call.operands)
                if position is not None:
                    others = call.operands[:position] + call.operands[position + 1 :]
                    replay = partial(_remade, call.again(), others, position, index, torch.is_grad_enabled())
                    self._values.note_view(tensor, call.operands[position], replay)

    # -- writes -----------------------------------------------------------------------------------

    def _shows_operand(self, target: Tensor) -> bool:
        """Whether a tensor without a gradient shows the memory of one that depends on the input."""
        looked_into = self._values.looks_into(target)
        return looked_into is not None and self.marks.of(looked_into) is not None

    def _write(self, call: Call, spelt: Spelling) -> Any:
        """An operator that writes into its first argument, without writing."""
        target: Tensor = call.args[0]
        if call.name in RESHAPING:
            raise reshaped(call)
        depends = self.marks.of(target) is not None
        if not torch.is_grad_enabled() and not depends and not self._shows_operand(target):
            return call.function(*call.args, **call.kwargs)
        result = self._written(call, spelt)
        if result is target:
            return result
        result = self._laid_out_like(target, result)
        if depends and not torch.is_grad_enabled():  # torch's gradient knows nothing of it
            with torch.enable_grad():
                result = Overwritten.apply(target, result)  # type: ignore[no-untyped-call]
            self.marks.put(result, merged(call.marks).passed_on(False))
        self._values.write(target, result)
        return result

    def _written(self, call: Call, spelt: Spelling) -> Tensor:
        """The target as it would be."""
        target: Tensor = call.args[0]
        if spelt.function is not None and call.operands:
            result: Tensor = self._run(spelt.without_writing(call))
            if result.shape != target.shape:  # torch says why not
                call.function(target.detach().clone(), *call.args[1:], **call.kwargs)
            if result.dtype != target.dtype:
                with self:
                    result = result.to(target.dtype)
            return result
        if self._rules.strict and describer_of(call.name) is None:
            raise unknown_operator(call)
        result = target.clone()
        call.function(result, *call.args[1:], **call.kwargs)
        if call.marks:
            mark = merged(call.marks)
            self.marks.put(
                result, mark.passed_on(mark.nonnegative and not call.constants and _is_tensor(call.args[-1]))
            )
        return result

    def _laid_out_like(self, target: Tensor, result: Tensor) -> Tensor:
        """In memory as the target is, since there may be views of it."""
        laid_out, mark = laid_out_like(target, result), self.marks.of(result)
        if laid_out is not result and mark is not None:
            self.marks.put(laid_out, mark)
        return laid_out

    # -- operands ---------------------------------------------------------------------------------

    def _operand(self, tensor: Tensor) -> tuple[Tensor, Mark | None]:
        """What a tensor stands for now, and its mark if it depends on the input; a parameter without its gradient."""
        tensor = self._values.current(tensor)
        if not tensor.requires_grad:
            return tensor, None
        mark = self.marks.of(tensor)
        if mark is not None:
            if mark.maker is not None:
                mark.maker.read(tensor)
            return tensor, mark
        if tensor.is_leaf:
            return self._constant(tensor), None
        self._require_fresh(tensor)
        if not reaches(tensor.grad_fn, self._root):
            return self._constant(tensor), None
        if self._rules.strict or is_rerun(tensor.grad_fn):
            raise foreign(tensor, self._layer())
        self.saw_foreign = self.ruling.lost_zeros = True
        self.marks.put(tensor, Mark())
        return tensor, Mark()

    def _constant(self, parameter: Tensor) -> Tensor:
        """One stand-in for each parameter, the same in every pass, since what is made of weights is kept by it."""
        if id(parameter) not in self._own:
            return self._values.same_view(parameter, parameter.detach())
        constant = self._surroundings.cache.constant(parameter)
        self._own[id(constant)] = constant
        return constant

    def _require_fresh(self, tensor: Tensor) -> None:
        """Refuse what was computed out of sight from memory that does not hold what the model wrote there."""
        stale = list(self._values.stale())
        if stale and reads(tensor.grad_fn, stale, [self._values.current(old) for old in stale]):
            raise overwritten(tensor, self._layer())


def _moved(call: Call, found: Any) -> Mark:
    """The mark of what is not described: values that moved keep their sign, of others nothing is known."""
    mark = merged(call.marks)
    if not isinstance(found, Route):
        return mark.passed_on(False, mark.gate)
    return mark.passed_on(mark.nonnegative if found.nonnegative is None else found.nonnegative, mark.gate)


def _remade(
    run: Callable[..., Any], operands: Sequence[Tensor], position: int, index: int, with_gradient: bool, base: Tensor
) -> Tensor:
    """A view made of another base."""
    with torch.set_grad_enabled(with_gradient):
        made: Tensor = _tensors(run(*operands[:position], base, *operands[position:]))[index]
    return made


def _looked_into(view: Tensor, operands: Sequence[Tensor]) -> int | None:
    """Which operand's memory a view shows."""
    storage = view.untyped_storage()._cdata
    return next((i for i, operand in enumerate(operands) if operand.untyped_storage()._cdata == storage), None)


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [part for part in result if isinstance(part, Tensor)] if isinstance(result, tuple | list) else []


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
