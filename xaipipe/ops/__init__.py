"""Ops with compiled kernels for CPU and CUDA, registered with torch.library under `torch.ops.xaipipe`."""

from xaipipe.ops.box import box_combine
from xaipipe.ops.combine import multiply_combine
from xaipipe.ops.flat import flat_spread
from xaipipe.ops.shares import (
    alpha_beta_shares,
    alpha_beta_shares_and_kept,
    gamma_shares,
    gamma_shares_and_kept,
    residual_shares,
    residual_shares_and_kept,
)
from xaipipe.ops.stabilise import stabilised_divide, stabilised_divide_and_kept

__all__ = [
    "alpha_beta_shares",
    "alpha_beta_shares_and_kept",
    "box_combine",
    "flat_spread",
    "gamma_shares",
    "gamma_shares_and_kept",
    "multiply_combine",
    "residual_shares",
    "residual_shares_and_kept",
    "stabilised_divide",
    "stabilised_divide_and_kept",
]
