"""Running a model forward as it is, and backward by rules: operator → rule.

A method is a `BackwardExplainer` with a table of rules; an operator of one's own is made known by `register`.
"""

from xaipipe.propagation.books import Books
from xaipipe.propagation.calls import Call
from xaipipe.propagation.explainer import BackwardExplainer, RuledExplainer
from xaipipe.propagation.gradient import Gradient, gradient_with
from xaipipe.propagation.operation import Operation, sum_to
from xaipipe.propagation.operators import register
from xaipipe.propagation.passes import Pulled, Where, pull_back
from xaipipe.propagation.references import Colour, Reference, References, reference_for, references_for
from xaipipe.propagation.rules import IN_PARTS, InParts, Rule, Rules, RuleTable
from xaipipe.propagation.slide_references import reference_of_part, require_of_parts, survey_for
from xaipipe.propagation.weighted import Weighted

__all__ = [
    "IN_PARTS",
    "BackwardExplainer",
    "Books",
    "Call",
    "Colour",
    "Gradient",
    "InParts",
    "Operation",
    "Pulled",
    "Reference",
    "References",
    "Rule",
    "RuleTable",
    "RuledExplainer",
    "Rules",
    "Weighted",
    "Where",
    "gradient_with",
    "pull_back",
    "reference_for",
    "reference_of_part",
    "references_for",
    "register",
    "require_of_parts",
    "sum_to",
    "survey_for",
]
