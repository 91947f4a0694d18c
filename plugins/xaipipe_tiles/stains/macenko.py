"""Stain normalisation by the slide's own stain vectors."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from xaipipe_tiles.density import White, densities, density_table, to_bytes
from xaipipe_tiles.stains.stain import Look, Stain, rounded

_ALPHA = 1.0
"""Percent of the pixels that are taken for outliers at either end."""
_SAME = 0.1
"""Radians between two stains that are one: haematoxylin and eosin are about 0.4 apart."""
_Positive = Annotated[float, Field(gt=0)]
_Vector = tuple[float, float, float]


class Macenko(Stain):
    """Stains get the colour and the strength that they have on the reference.

    Optical densities of the stained pixels (mean density ≥ β = 0.15) span a plane, that of the two largest singular
    vectors. Robust extremes of the angle in it, at α = 1 % from either end, are haematoxylin and eosin. A stain's
    strength is the 99th percentile of its concentrations. Concentrations are scaled to the reference's strengths and
    developed again with the reference's stains.

    The reference is, in optical density of red, green and blue, haematoxylin (0.5626, 0.7201, 0.4062) and eosin
    (0.2159, 0.8012, 0.5581), with strengths 1.9705 and 1.0308: those of implementations in common use.

    Two things differ from the paper. What lies off the plane is kept and not dropped, so that ink, pigment and a
    third stain stay what they are. And glass is that of the slide, which becomes that of the reference.

    Misleads when: a slide has one stain only, or more than two; when one of the stains covers less than a percent of
    the tissue; when a difference of staining is what the model is meant to see.

    Reference: Macenko et al. 2009, A method for normalizing histology slides for quantitative analysis.
    """

    name = "macenko"

    class Look(Look):
        haematoxylin: _Vector = Field((0.5626, 0.7201, 0.4062), description="its density in red, green and blue")
        eosin: _Vector = Field((0.2159, 0.8012, 0.5581), description="its density in red, green and blue")
        strength: tuple[_Positive, _Positive] = Field((1.9705, 1.0308), description="99th percentiles of both")

    def __init__(self, own: Look, reference: Look) -> None:
        super().__init__(own, reference)
        gains = [aim / have for aim, have in zip(reference.strength, own.strength, strict=True)]
        # [3, 3]: from densities to densities. Columns of a basis are stains, and what is neither.
        self.matrix = _basis(reference) @ np.diag([*gains, 1.0]) @ np.linalg.inv(_basis(own))
        self._table = density_table(own.white)

    @classmethod
    def fit(cls, stained: np.ndarray, white: White) -> Look:
        """The stain vectors and strengths of a slide; a `ValueError` where there are not two stains."""
        od = np.stack(densities(stained, density_table(white)), axis=1).astype(np.float64)
        first, second = stain_vectors(od)
        concentrations = od @ np.linalg.pinv(np.stack([first, second]))
        strength = np.percentile(concentrations, 100 - _ALPHA, axis=0)
        if not (strength > 0).all():
            raise ValueError(f"strengths {strength[0]:.3g} and {strength[1]:.3g}")
        return cls.Look(
            haematoxylin=rounded(first), eosin=rounded(second), strength=rounded(strength), white=rounded(white)
        )

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        planes = densities(rgb, self._table)
        out = np.empty_like(rgb)
        for channel, weights in enumerate(self.matrix.astype(np.float32)):
            light = planes[0] * -weights[0]
            light -= planes[1] * weights[1]
            light -= planes[2] * weights[2]
            np.minimum(light, 3, out=light)  # far beyond white already
            np.exp(light, out=light)
            light *= np.float32(self.reference.white[channel] + 1)
            light -= 1
            out[..., channel] = to_bytes(light)
        return out


def stain_vectors(od: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Haematoxylin and eosin, of length 1, from densities float64 [n, 3]; a `ValueError` where they are one."""
    # sums channel by channel, since a matrix product may add up in another order on another number of threads
    moments = np.array([[(od[:, i] * od[:, j]).sum() for j in range(3)] for i in range(3)])
    plane = np.linalg.eigh(moments)[1][:, [2, 1]]
    plane *= np.where(plane.sum(axis=0) < 0, -1.0, 1.0)  # the first points to where the pixels are
    x, y = (od[:, 0] * v[0] + od[:, 1] * v[1] + od[:, 2] * v[2] for v in plane.T)
    low, high = np.percentile(np.arctan2(y, x), (_ALPHA, 100 - _ALPHA))
    if high - low < _SAME:
        raise ValueError(f"stains that are {high - low:.3g} rad apart, expected at least {_SAME:g}")
    extremes = [plane @ (np.cos(angle), np.sin(angle)) for angle in (low, high)]
    first, second = sorted(extremes, key=lambda vector: -vector[0])  # haematoxylin takes more red
    return first, second


def _basis(look: Look) -> np.ndarray:
    """[3, 3]: both stains and what is perpendicular to them, as columns of length 1."""
    first, second = np.asarray(look.haematoxylin), np.asarray(look.eosin)
    other = np.cross(first, second)
    columns = np.stack([first, second, other], axis=1)
    lengths = np.linalg.norm(columns, axis=0)
    if (lengths == 0).any() or lengths[2] < 0.5 * _SAME * lengths[0] * lengths[1]:
        raise ValueError("haematoxylin and eosin are the same")
    return columns / lengths
