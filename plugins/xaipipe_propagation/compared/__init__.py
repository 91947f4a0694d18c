"""Rules for the difference between a model's answers to an image and to a reference.

Every operator hands back multipliers m with Σ m · (x − x') = y − y' for each of its outputs, so that what arrives at
the pixels, times their difference, sums to the difference of the scores.
"""

from xaipipe_propagation.compared.passes import Compared, Comparison
from xaipipe_propagation.compared.tables import RESCALE, REVEAL_CANCEL, How

__all__ = ["RESCALE", "REVEAL_CANCEL", "Compared", "Comparison", "How"]
