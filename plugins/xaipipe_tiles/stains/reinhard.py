"""Stain normalisation by the mean and the spread of the slide's colours."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from xaipipe_tiles.density import White, density_table, mean_density, to_bytes
from xaipipe_tiles.stains.stain import STAINED, Look, Stain, rounded

_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
"""From RGB to the responses of the eye's cones."""
_LAB = np.diag(np.array([3, 6, 2]) ** -0.5) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])
"""From their logarithms (base 10) to l, α and β."""
_FLATTEST = 1e-3
"""Least deviation of an axis that can be stretched."""
_Deviation = Annotated[float, Field(ge=_FLATTEST)]


class Reinhard(Stain):
    """Colours get the mean and the standard deviation that they have on the reference, on each axis of lαβ.

    lαβ is Ruderman's space, as in the paper, not CIELAB: logarithms of the cones' responses to RGB (to which one is
    added, so that black has a logarithm). Statistics are those of the stained pixels (mean optical density ≥ 0.15).

    The reference is the tissue of OpenSlide's CMU-1-Small-Region (H&E, public domain), measured in the same way.

    The paper moves every pixel; here glass stays glass, whatever the tissue's colours: the change fades out as a
    pixel's mean optical density d falls from 0.15 to 0, with (d / 0.15)², where it becomes the reference's glass.

    Misleads when: slides differ in how much of them is nuclei, since a slide's mean is then that of its tissue and not
    of its stain; when a difference of staining is what the model is meant to see.

    Reference: Reinhard et al. 2001, Color transfer between images.
    """

    name = "reinhard"

    class Look(Look):
        white: White = Field((245.0, 243.0, 243.0), description="colour of empty glass, 0 … 255")
        mean: tuple[float, float, float] = Field((-0.667259, -0.0712, 0.026645), description="of l, α and β")
        deviation: tuple[_Deviation, _Deviation, _Deviation] = Field(
            (0.377531, 0.083539, 0.019708), description="of l, α and β"
        )

    def __init__(self, own: Look, reference: Look) -> None:
        super().__init__(own, reference)
        gain = np.diag(np.asarray(reference.deviation) / np.asarray(own.deviation))
        back = np.linalg.inv(_LAB)
        # an affine map of the logarithms, since both ways to lαβ are linear in them
        self.matrix = back @ gain @ _LAB
        self.shift = back @ (np.asarray(reference.mean) - gain @ np.asarray(own.mean))
        self._table = density_table(own.white)
        self._glass = [aim / have for aim, have in zip(reference.white, own.white, strict=True)]

    @classmethod
    def fit(cls, stained: np.ndarray, white: White) -> Look:
        """The mean and the deviation of a slide's colours; a `ValueError` where there is but one colour."""
        lab = to_lab(stained)
        mean, deviation = lab.mean(axis=0), lab.std(axis=0)
        if (deviation < _FLATTEST).any():
            raise ValueError(f"deviations {', '.join(f'{one:.2g}' for one in deviation)}, expected {_FLATTEST} or more")
        return cls.Look(mean=rounded(mean), deviation=rounded(deviation), white=rounded(white))

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        light = [rgb[..., channel].astype(np.float32) for channel in range(3)]
        cones = _mixed([(plane + 1) / 256 for plane in light], _LMS)
        logs = [np.log10(plane, out=plane) for plane in cones]
        moved = [plane + np.float32(by) for plane, by in zip(_mixed(logs, self.matrix), self.shift, strict=True)]
        new = _mixed([np.power(np.float32(10), np.minimum(plane, 1)) for plane in moved], np.linalg.inv(_LMS) * 256)
        weight = np.square(np.clip(mean_density(rgb, self._table) * np.float32(1 / STAINED), 0, 1))
        out = np.empty_like(rgb)
        for channel in range(3):
            glass = light[channel] * np.float32(self._glass[channel])
            out[..., channel] = to_bytes(glass + weight * (new[channel] - 1 - glass))
        return out


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """float64 [n, 3] from uint8 [n, 3]."""
    logs = np.log10(((rgb.astype(np.float64) + 1) / 256) @ _LMS.T)
    return logs @ _LAB.T


def _mixed(planes: list[np.ndarray], matrix: np.ndarray) -> list[np.ndarray]:
    """A 3 × 3 matrix times three planes, in float32 and without a copy of all of them."""
    mixed = []
    for weights in matrix.astype(np.float32):
        plane = planes[0] * weights[0]
        plane += planes[1] * weights[1]
        plane += planes[2] * weights[2]
        mixed.append(plane)
    return mixed
