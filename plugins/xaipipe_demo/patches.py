"""Labelled patches cut from synthetic slides: the only thing the network learns from."""

from collections.abc import Iterable
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from xaipipe_demo.artefacts import ARTEFACTS
from xaipipe_demo.scene import Scene

WELL_INSIDE = 12
"""A damaged nucleus labels a patch only when its centre lies this many pixels from the border or more."""

CLEAR = 18
"""A patch is healthy only when no damaged nucleus is centred within this many pixels of it."""

_ASTRAY = 0.2
"""Share of healthy patches taken anywhere, on glass and artefacts too, instead of at a nucleus."""

Points = NDArray[np.int64]


@dataclass(frozen=True)
class Patches:
    """Patches and whether each holds a damaged cell."""

    pixels: NDArray[np.uint8]
    damaged: NDArray[np.bool_]


def training_scene(seed: int, side: int) -> Scene:
    """A slide to learn from: in every four two with much damage and one with a little, where most damaged patches
    owe their label to a single cell; the fourth is free of it and full of artefacts, which must not look like it.
    """
    if seed % 4 == 0:
        return Scene(seed, side, side, damaged=0.0, artefacts=ARTEFACTS)
    return Scene(seed, side, side, damaged=0.015 if seed % 4 == 2 else 0.05)


def draw_patches(seeds: Iterable[int], count: int, size: int, side: int = 2048) -> Patches:
    """About `count` patches from every slide, half of them damaged where the slide has damaged cells."""
    parts = [_from_slide(training_scene(seed, side), count, size) for seed in seeds]
    return Patches(np.concatenate([p.pixels for p in parts]), np.concatenate([p.damaged for p in parts]))


def _from_slide(scene: Scene, count: int, size: int) -> Patches:
    rng = np.random.default_rng([scene.seed, 3])
    picture = _through_jpeg(scene.rgb(0, 0, scene.height, scene.width), int(rng.integers(75, 95)))
    nuclei = scene.nuclei(0, 0, scene.height, scene.width)
    centres = np.stack([nuclei.cy, nuclei.cx], axis=1)
    sick, well = centres[nuclei.damaged], centres[~nuclei.damaged]
    positive = _around(sick, count, size, rng)
    anywhere = rng.uniform(0, (scene.height, scene.width), (int(count * _ASTRAY), 2))
    negative = np.concatenate([_around(well, count, size, rng), _around(anywhere, len(anywhere), size, rng)])
    rng.shuffle(negative)
    corners, labels = _labelled(np.concatenate([positive, negative]), sick, size, scene)
    chosen = _balanced(labels, count, rng)
    pixels = [picture[y : y + size, x : x + size] for y, x in corners[chosen]]
    return Patches(np.array(pixels, np.uint8).reshape(-1, size, size, 3), labels[chosen])


def _around(centres: NDArray[np.float64], count: int, size: int, rng: np.random.Generator) -> Points:
    """Corners of patches that hold a randomly chosen centre somewhere well inside."""
    if not len(centres):
        return np.empty((0, 2), np.int64)
    chosen = centres[rng.integers(0, len(centres), count)]
    return np.floor(chosen - rng.uniform(WELL_INSIDE, size - WELL_INSIDE, chosen.shape)).astype(np.int64)


def _labelled(corners: Points, sick: NDArray[np.float64], size: int, scene: Scene) -> tuple[Points, NDArray[np.bool_]]:
    """Patches on the slide whose label is beyond doubt, and the label."""
    bottom, right = scene.height - size, scene.width - size
    y, x = corners.T
    corners = corners[(y >= 0) & (x >= 0) & (y <= bottom) & (x <= right)]
    # Distance of every damaged nucleus from the patch's middle, as squares measure it.
    away = np.abs(sick[None] - corners[:, None] - size / 2).max(axis=2)
    nearest = away.min(axis=1, initial=np.inf)
    inside = nearest <= size / 2 - WELL_INSIDE
    sure = inside | (nearest > size / 2 + CLEAR)
    return corners[sure], inside[sure]


def _balanced(labels: NDArray[np.bool_], count: int, rng: np.random.Generator) -> Points:
    """At most half of `count` from either label, in random order."""
    halves = [np.flatnonzero(labels == wanted)[: count // 2] for wanted in (False, True)]
    return rng.permutation(np.concatenate(halves))


def _through_jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """What the slide's own compression leaves of a picture."""
    coded = imagecodecs.jpeg8_encode(picture, level=quality, subsampling="420")
    return np.asarray(imagecodecs.jpeg8_decode(coded), np.uint8)
