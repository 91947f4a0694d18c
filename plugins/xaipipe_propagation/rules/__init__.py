"""Rules of layer-wise relevance propagation, for whatever method wants them."""

from xaipipe_propagation.rules.attention import Softmax, SplitProduct
from xaipipe_propagation.rules.bounded import Bounds, ZBox
from xaipipe_propagation.rules.contributions import BalancedSum, Contributions, Join, Pass, Scale, Sum
from xaipipe_propagation.rules.excitation import Contrast, Excite, ExciteAverage, ExciteMixed, ExciteSum, Through
from xaipipe_propagation.rules.flat import Flat, WSquare
from xaipipe_propagation.rules.signed import AlphaBeta, Gamma
from xaipipe_propagation.rules.weighted import Epsilon

__all__ = [
    "AlphaBeta",
    "BalancedSum",
    "Bounds",
    "Contrast",
    "Contributions",
    "Epsilon",
    "Excite",
    "ExciteAverage",
    "ExciteMixed",
    "ExciteSum",
    "Flat",
    "Gamma",
    "Join",
    "Pass",
    "Scale",
    "Softmax",
    "SplitProduct",
    "Sum",
    "Through",
    "WSquare",
    "ZBox",
]
