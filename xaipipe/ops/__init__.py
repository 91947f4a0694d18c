"""Ops with compiled kernels for CPU and CUDA, registered with torch.library under `torch.ops.xaipipe`."""

from xaipipe.ops.lrp import stabilised_divide

__all__ = ["stabilised_divide"]
