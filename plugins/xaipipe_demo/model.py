"""A small network that tells whether a patch holds damaged cells, trained on that alone.

It is built to be explained: convolutions and ReLUs, one global average, one linear layer. The class score is then
a mean over places of evidence at that place, so a class activation map of the last convolution is exact.
"""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

CLASSES = ("healthy", "damaged")

PREPROCESS: dict[str, Any] = {"size": 96, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "mpp": 0.5}
"""What the network expects: RGB in [0, 1], minus mean, over std, at this many micrometres a pixel. `size` is the
patch it was trained on; any size runs, and the score then averages over that much more or less of the slide."""

STRIDE = 4
"""Input pixels per cell of the last feature map."""

_LAYERS = ((16, 4, 2, 1), (32, 4, 2, 1), (32, 3, 1, 1), (32, 3, 1, 1), (32, 3, 1, 1), (32, 1, 1, 0))
"""Width, kernel, stride and padding. Even kernels where the stride is 2 keep the grid centred on the patch, so a
mirrored patch has a mirrored map."""


class DamageNet(nn.Module):
    """Six convolutions with ReLU, global average pooling, one linear layer: [N, 3, H, W] to [N, 2].

    The receptive field is 34 pixels, a cell and its surroundings. There is no normalisation layer, so nothing
    in the network depends on what else is in the batch or the patch.
    """

    labels = CLASSES

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width, kernel, stride, padding in _LAYERS:
            layers += [nn.Conv2d(inputs, width, kernel, stride, padding), nn.ReLU()]
            inputs = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Scores of 'healthy' and 'damaged' for a batch of normalised patches."""
        return self.classifier(self.pool(self.features(x)).flatten(1))  # type: ignore[no-any-return]


def build(weights: str | Path | None = None) -> nn.Module:
    """The network in evaluation mode, with its own weights or those of a safetensors file."""
    model = DamageNet()
    if weights is None:
        with as_file(files("xaipipe_demo") / "weights.safetensors") as packaged:
            model.load_state_dict(load_file(packaged))
    else:
        model.load_state_dict(load_file(weights))
    return model.eval()


def normalise(pixels: Tensor) -> Tensor:
    """uint8 RGB [N, H, W, 3] to what the network takes."""
    x = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255
    mean, std = (torch.tensor(PREPROCESS[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    return (x - mean) / std
