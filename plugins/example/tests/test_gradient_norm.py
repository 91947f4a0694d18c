from torch import Tensor
from xaipipe_gradient_norm import GradientNorm

from xaipipe.testing import ExplainerContract


class TestGradientNorm(ExplainerContract):
    method = GradientNorm
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target].norm(dim=0).expand(len(x), 1, -1, -1)
