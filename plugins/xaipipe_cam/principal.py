"""The strongest pattern in a layer's maps."""

from __future__ import annotations

import torch
from torch import Tensor


def first_component(maps: Tensor, centred: bool) -> Tensor:
    """Maps [N, K, h, w], cells as samples, projected on their first right singular vector: [N, 1, h, w].

    Of the two signs it could have, the one that goes with the sum over the channels.
    """
    cells = maps.flatten(2).mT.to(torch.promote_types(maps.dtype, torch.float32))
    if centred:
        cells = cells - cells.mean(dim=1, keepdim=True)
    left, strengths, _ = torch.linalg.svd(cells, full_matrices=False)
    projected = left[..., 0] * strengths[:, :1]
    agreement = (projected * cells.sum(dim=2)).sum(dim=1, keepdim=True)
    signed = torch.where(agreement < 0, -projected, projected)
    return signed.reshape(len(maps), 1, *maps.shape[2:]).to(maps.dtype)
