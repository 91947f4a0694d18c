"""Ops with compiled kernels for CPU and CUDA, registered with torch.library under `torch.ops.xaipipe`."""

from xaipipe.ops.box import box_combine
from xaipipe.ops.combine import multiply_combine
from xaipipe.ops.flat import flat_spread
from xaipipe.ops.shares import alpha_beta_shares, gamma_shares, residual_shares
from xaipipe.ops.stabilise import stabilised_divide

__all__ = [
    "alpha_beta_shares",
    "box_combine",
    "flat_spread",
    "gamma_shares",
    "multiply_combine",
    "residual_shares",
    "stabilised_divide",
]
