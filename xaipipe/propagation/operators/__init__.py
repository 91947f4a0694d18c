"""What each torch operator is to rules: a table by name, to which plugins add."""

from __future__ import annotations

from xaipipe.propagation.operators.attention import ATTENTION
from xaipipe.propagation.operators.described import Decomposed, Described, Describer, Route, Surroundings
from xaipipe.propagation.operators.elementwise import ELEMENTWISE
from xaipipe.propagation.operators.norms import NORMS
from xaipipe.propagation.operators.pooling import POOLING
from xaipipe.propagation.operators.products import PRODUCTS
from xaipipe.propagation.operators.routes import ROUTES
from xaipipe.propagation.operators.weighted import WEIGHTED

__all__ = ["Decomposed", "Described", "Describer", "Route", "Surroundings", "describer_of", "register"]

_TABLE: dict[str, Describer] = {**ROUTES, **ELEMENTWISE, **POOLING, **NORMS, **PRODUCTS, **WEIGHTED, **ATTENTION}


def describer_of(name: str) -> Describer | None:
    return _TABLE.get(name)


def register(name: str, describer: Describer) -> None:
    """Tell rules what an operator of that name is."""
    _TABLE[name] = describer
