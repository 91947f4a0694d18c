"""Making operators of one's own known to rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import get_args

from xaipipe.errors import UsageError, did_you_mean
from xaipipe.propagation.calls import Call
from xaipipe.propagation.marks import Mark, merged
from xaipipe.propagation.operation import Kind
from xaipipe.propagation.operators.described import Decomposed, Described, Describer, Route, Surroundings
from xaipipe.propagation.operators.elementwise import described

_MOVES = "route"
"""As a kind: values are moved, and none is changed."""
_ANY_NUMBER = ("sum", "product", "matmul", "max")
_OF_ONE = ("activation", "average", "statistic")


class Operators:
    """Describers by the names of operators."""

    def __init__(self, table: Mapping[str, Describer]) -> None:
        self._table, self._own = dict(table), frozenset(table)

    def describer_of(self, name: str) -> Describer | None:
        return self._table.get(name)

    def register(
        self, name: str, describer: Describer | None = None, *, kind: str | None = None, like: str | None = None
    ) -> None:
        """Tell rules what an operator of that name is.

        Either its `kind`: an 'activation' (a function of each element), an 'average' (linear, without weights), a
        'sum', 'product', 'matmul' or 'max' of several, a 'statistic', or a 'route', which moves values and changes
        none. Or that it is `like` an operator of torch's that has the same arguments. Or a describer, for all else.

        >>> register("mylib::swish", kind="activation")
        >>> register("mylib::fast_conv2d", like="conv2d")
        """
        self._require_name(name)
        if sum(one is not None for one in (describer, kind, like)) != 1:
            raise UsageError(f"what is the operator '{name}'?", expected="one of kind=…, like=…, or a describer")
        if kind is not None:
            describer = _of_kind(kind)
        if like is not None:
            describer = self._like(like)
        assert describer is not None
        self._table[name] = describer

    def require_known(self, keys: Iterable[str]) -> None:
        """Refuse what is neither an operator's name nor a kind."""
        known = [*get_args(Kind), *self._table]
        for key in keys:
            if key not in known:
                raise UsageError(
                    f"there is no operator, and no kind of operators, '{key}'",
                    expected=f"a name that torch has for an operator, or a kind: {', '.join(get_args(Kind))}",
                    hint=did_you_mean(key, known),
                )

    def _require_name(self, name: str) -> None:
        if not re.fullmatch(r"(\w+::)?[A-Za-z_]\w*", name) or (name.endswith("_") and not name.startswith("_")):
            bare = name.rpartition(".")[2].rstrip("_")
            raise UsageError(
                f"an operator has no such name: '{name}'",
                expected="the bare name (gelu), or with the library's (mylib::gelu); no trailing underscore",
                hint=f"'{bare}'" if re.fullmatch(r"\w+", bare) else None,
            )
        if name in self._own:
            raise UsageError(f"the operator '{name}' is torch's own, and known already")

    def _like(self, like: str) -> Describer:
        model = self._table.get(like)
        if model is None:
            raise UsageError(f"no operator '{like}' is known", hint=did_you_mean(like, self._table))

        def describer(call: Call, surroundings: Surroundings) -> Described | Route | Decomposed | None:
            return model(replace(call, name=like), surroundings)

        return describer


def _of_kind(kind: str) -> Describer:
    kinds = (*_OF_ONE, *_ANY_NUMBER, _MOVES)
    if kind not in kinds:
        raise UsageError(
            f"no operator can be registered as '{kind}'",
            expected=", ".join(kinds),
            hint=did_you_mean(kind, kinds) or "like=… says that it is like a known operator",
        )
    if kind == _MOVES:
        return lambda call, surroundings: Route()

    def describer(call: Call, surroundings: Surroundings) -> Described | None:
        if kind in _OF_ONE and len(call.operands) != 1:
            return None
        factors = (1.0,) * len(call.operands) if kind == "sum" else ()
        return described(kind, call, _mark(call), factors=factors)

    return describer


def _mark(call: Call) -> Mark:
    """Nothing is known of the values."""
    return merged(call.marks).passed_on(False)
