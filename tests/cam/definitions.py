"""Class activation methods written down from their formulas, in numpy and float64, cell by cell.

`A` are the maps of one image [K, h, w], `g` the gradient of the score there.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def relu(value: Array) -> Array:
    return np.where(value > 0, value, 0.0)


def weighted(A: Array, weight: Callable[[int], float]) -> Array:
    total = np.zeros(A.shape[1:])
    for k in range(len(A)):
        total += weight(k) * A[k]
    return total


def cells_of(A: Array) -> list[tuple[int, int]]:
    return list(product(range(A.shape[1]), range(A.shape[2])))


def gradcam(A: Array, g: Array) -> Array:
    return relu(weighted(A, lambda k: sum(g[k][cell] for cell in cells_of(A)) / len(cells_of(A))))


def counterfactual_gradcam(A: Array, g: Array) -> Array:
    return gradcam(A, -g)


def gradcam_pp(A: Array, g: Array) -> Array:
    def weight(k: int) -> float:
        total = 0.0
        for cell in cells_of(A):
            slope = g[k][cell]
            if slope == 0:  # 0 / 0, and its factor is 0
                continue
            alpha = slope**2 / (2 * slope**2 + A[k].sum() * slope**3)
            total += alpha * max(slope, 0.0)
        return total

    return relu(weighted(A, weight))


def xgradcam(A: Array, g: Array) -> Array:
    def weight(k: int) -> float:
        return sum(A[k][cell] / A[k].sum() * g[k][cell] for cell in cells_of(A)) if A[k].any() else 0.0

    return relu(weighted(A, weight))


def hirescam(A: Array, g: Array) -> Array:
    return weighted(g * A, lambda k: 1.0)


def layercam(A: Array, g: Array) -> Array:
    return relu(weighted(relu(g) * A, lambda k: 1.0))


def gradcam_elementwise(A: Array, g: Array) -> Array:
    return weighted(relu(g * A), lambda k: 1.0)


def first_direction(samples: Array) -> Array:
    """Of [cells, K], the samples' coordinates along the largest eigenvector of their second moments."""
    values, vectors = np.linalg.eigh(samples.T @ samples)
    projected: Array = samples @ vectors[:, np.argmax(values)]
    return projected if projected @ samples.sum(axis=1) >= 0 else -projected


def eigencam(A: Array, g: Array) -> Array:
    return first_direction(A.reshape(len(A), -1).T).reshape(A.shape[1:])


def eigengradcam(A: Array, g: Array) -> Array:
    return eigencam(g * A, g)


DEFINITIONS: dict[str, Callable[[Array, Array], Array]] = {
    "gradcam": gradcam,
    "counterfactual_gradcam": counterfactual_gradcam,
    "gradcam_pp": gradcam_pp,
    "xgradcam": xgradcam,
    "hirescam": hirescam,
    "layercam": layercam,
    "gradcam_elementwise": gradcam_elementwise,
    "eigencam": eigencam,
    "eigengradcam": eigengradcam,
}
