"""What each torch operator is to rules: a table by name, to which plugins add."""

from __future__ import annotations

from xaipipe.propagation.operators.attention import ATTENTION
from xaipipe.propagation.operators.described import Decomposed, Described, Describer, Route, Surroundings
from xaipipe.propagation.operators.elementwise import ELEMENTWISE
from xaipipe.propagation.operators.norms import NORMS
from xaipipe.propagation.operators.pooling import POOLING
from xaipipe.propagation.operators.products import PRODUCTS
from xaipipe.propagation.operators.registering import Operators
from xaipipe.propagation.operators.routes import ROUTES
from xaipipe.propagation.operators.weighted import WEIGHTED

__all__ = [
    "OPERATORS",
    "Decomposed",
    "Described",
    "Describer",
    "Route",
    "Surroundings",
    "describer_of",
    "register",
]

OPERATORS = Operators({**ROUTES, **ELEMENTWISE, **POOLING, **NORMS, **PRODUCTS, **WEIGHTED, **ATTENTION})

describer_of = OPERATORS.describer_of
register = OPERATORS.register
