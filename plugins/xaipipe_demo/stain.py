"""From stain densities to light: haematoxylin, eosin and a residual, on the scale of `skimage.color.hed2rgb`."""

from dataclasses import dataclass

import numpy as np

from xaipipe_demo.noise import Floats, salted, uniform

# Ruifrok & Johnston's stain colours as in skimage's `rgb_from_hed`, times its log adjustment -ln(1e-6).
ABSORBANCE = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]]) * -np.log(1e-6)


def transmit(haematoxylin: Floats, eosin: Floats, residual: Floats) -> Floats:
    """Transmitted light [3, h, w] in [0, 1]: `hed2rgb` in float32, one plane at a time."""
    planes = np.empty((3, *haematoxylin.shape), np.float32)
    for plane, weights in zip(planes, ABSORBANCE.T.astype(np.float32), strict=True):
        np.multiply(haematoxylin, -weights[0], out=plane)
        plane -= eosin * weights[1]
        plane -= residual * weights[2]
        np.minimum(plane, 0, out=plane)
        np.exp(plane, out=plane)
    return planes


@dataclass(frozen=True)
class Staining:
    """How one slide was stained and lit; laboratories differ, so every seed does."""

    haematoxylin: float
    """Gain of the nuclear stain."""
    eosin: float
    """Gain of the counterstain."""
    residual: float
    """Brownish share of the counterstain: turns pure eosin's magenta into the pink of a real section."""
    light: tuple[float, float, float]
    """Colour of empty glass."""


def staining(seed: int) -> Staining:
    """The staining of the slide with this seed."""
    u = uniform(salted(seed, 1), 0, np.arange(6)).astype(float).tolist()
    return Staining(
        haematoxylin=0.88 + 0.24 * u[0],
        eosin=0.85 + 0.3 * u[1],
        residual=0.27 + 0.14 * u[2],
        light=(0.955 + 0.02 * u[3], 0.95 + 0.02 * u[4], 0.955 + 0.02 * u[5]),
    )


def develop(haematoxylin: Floats, eosin: Floats, how: Staining) -> Floats:
    """Transmitted light [3, h, w] of a slide with these densities under its own staining."""
    pink = eosin * np.float32(how.eosin)
    planes = transmit(haematoxylin * np.float32(how.haematoxylin), pink, pink * np.float32(how.residual))
    for plane, light in zip(planes, how.light, strict=True):
        plane *= np.float32(light)
    return planes
