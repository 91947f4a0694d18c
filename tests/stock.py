"""Models of other libraries, with random weights: no download."""

from __future__ import annotations

import pytest
import torch
from torch import nn


def stock(name: str, **settings: object) -> nn.Module:
    """`timm:NAME` or `torchvision:NAME`; the test is skipped where the library is not installed."""
    library, _, model = name.partition(":")
    found = pytest.importorskip(library)
    make = found.create_model if library == "timm" else found.models.get_model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: nn.Module = make(model, **settings)
    return net.eval()
