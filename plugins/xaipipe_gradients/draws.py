"""Random numbers that depend on the seed, on the number of the sample and on where a tile lies, and on nothing else.

Images that are plain tensors all get the same numbers, tiles of a slide each their own: so a map does not depend on
what else is in the batch. Numbers are drawn on the CPU, the same for models on every device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from xaipipe import Batch


def generator(batch: Batch, image: int, seed: int, sample: int) -> np.random.Generator:
    """For one sample of one image."""
    place = (batch.tiles[image].level, batch.tiles[image].y, batch.tiles[image].x) if batch.tiles else ()
    return np.random.default_rng([seed, sample, *place])


def normal(batch: Batch, image: int, seed: int, sample: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers in float32, on the CPU."""
    return torch.from_numpy(generator(batch, image, seed, sample).standard_normal(shape, dtype=np.float32))
