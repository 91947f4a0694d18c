from xaipipe.testing import ExplainerContract
from xaipipe_propagation.deeplift import DeepLift
from typing import ClassVar


class TestDeepLift(ExplainerContract):
    method = DeepLift
    scales_with_score = True
    conserves = True

    def expected_on_linear(self, weight, x, target):
        return weight[target] * x


class TestRevealCancel(ExplainerContract):
    method = DeepLift
    params: ClassVar = {"rule": "reveal_cancel"}
    scales_with_score = True
    conserves = True

    def expected_on_linear(self, weight, x, target):
        return weight[target] * x
