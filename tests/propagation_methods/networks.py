"""Networks of ReLUs without biases, in the spellings that trip methods up, and stock ones."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Unbiased(nn.Module):
    """Three convolutions without bias, a max pooling with ties, a mean and a head; `how` is how ReLUs are written."""

    def __init__(self, how: str = "modules") -> None:
        super().__init__()
        self.how = how
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.left = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.right = nn.Conv2d(6, 4, 1, bias=False)
        self.head = nn.Linear(10, 4, bias=False)
        self.relu = nn.ReLU()
        self.in_place = nn.ReLU(inplace=True)

    def rectified(self, x: Tensor) -> Tensor:
        return {
            "modules": self.relu,
            "in place": self.in_place,
            "functional": F.relu,
            "functional in place": lambda x: F.relu(x, inplace=True),
            "method": lambda x: x.relu_(),
            "clamp": lambda x: x.clamp(min=0),
        }[self.how](x)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.rectified(self.stem(x)), 2)
        x = self.rectified(self.left(x) + x)
        x = torch.cat([x, self.rectified(self.right(x))], dim=1)
        answer: Tensor = self.head(x.mean(dim=(2, 3)))
        return answer


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().double().eval()


def stock(name: str) -> nn.Module:
    """A network of torchvision or timm with random weights, as `library:name`; skips where the library is absent."""
    library, _, model = name.partition(":")
    try:
        package = import_module(library)
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        pytest.skip(f"{library} cannot be imported: {error}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = package.models.get_model(model, weights=None) if library == "torchvision" else package.create_model(model)
        _with_biases(net)
    return net.double().eval()


def _with_biases(net: nn.Module) -> None:
    """Fresh networks have biases, layer scales and tokens of zero or nearly so: what is wrong with them would not show."""
    for parameter in net.parameters():
        if parameter.ndim < 2 or not parameter.any():
            with torch.no_grad():
                parameter.add_(0.02 * torch.randn_like(parameter))
