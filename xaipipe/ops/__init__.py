"""Ops with compiled kernels for CPU and CUDA, registered with torch.library under `torch.ops.xaipipe`."""

from xaipipe.ops.combine import multiply_combine
from xaipipe.ops.shares import alpha_beta_shares, gamma_shares, residual_shares
from xaipipe.ops.stabilise import stabilised_divide

__all__ = ["alpha_beta_shares", "gamma_shares", "multiply_combine", "residual_shares", "stabilised_divide"]
