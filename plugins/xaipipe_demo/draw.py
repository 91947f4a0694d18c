"""Nuclei onto a window: outlines for the truth, density and texture for the picture, halos for the damaged."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from xaipipe_demo.noise import Box, Floats, salted, spread, uniform
from xaipipe_demo.nuclei import Kind, Nuclei
from xaipipe_demo.tissue import Ground

HALF = 17
"""Half the side of the patch that a nucleus is drawn on; nothing of it reaches further from its centre."""

_SMALL = 12
_CHUNK = 64


class Patches:
    """Offsets of a chunk of nuclei's patches from their centres, and where the patches go."""

    def __init__(self, nuclei: Nuclei, half: int, canvas: Box) -> None:
        row, column = np.floor(nuclei.cy).astype(np.int64), np.floor(nuclei.cx).astype(np.int64)
        span = np.arange(-half, half + 1, dtype=np.float32)
        self.nuclei = nuclei
        self.side = 2 * half + 1
        self.top, self.left = row - half - canvas.y, column - half - canvas.x
        # The centre of pixel i is at i + 1/2.
        self.dy = span[None, :, None] + (row + 0.5 - nuclei.cy).astype(np.float32)[:, None, None]
        self.dx = span[None, None, :] + (column + 0.5 - nuclei.cx).astype(np.float32)[:, None, None]

    def windows(self, plane: NDArray[np.float32]) -> Floats:
        """What each patch covers of a canvas, [n, side, side]."""
        return sliding_window_view(plane, (self.side, self.side))[self.top, self.left]

    def slices(self) -> Iterator[tuple[slice, slice]]:
        """Where each patch lies on the canvas."""
        for y, x in zip(self.top.tolist(), self.left.tolist(), strict=True):
            yield slice(y, y + self.side), slice(x, x + self.side)


def _chunks(nuclei: Nuclei, half: int, canvas: Box) -> Iterator[Patches]:
    """Chunks small enough that their patches stay in the cache."""
    for start in range(0, len(nuclei), _CHUNK):
        yield Patches(nuclei.select(slice(start, start + _CHUNK)), half, canvas)


def _each(values: NDArray[np.floating[Any]]) -> Floats:
    """One number a nucleus, ready to broadcast over its patch."""
    return values.astype(np.float32)[:, None, None]


def _lobe(seed: int, nuclei: Nuclei, salt: int) -> Floats:
    """One coefficient a nucleus of its outline's deviation from an ellipse."""
    return _each(spread(uniform(salted(seed, salt), nuclei.id, 0), -0.075, 0.075))


def outline(seed: int, patches: Patches) -> Floats:
    """How far out each pixel lies, in units of the nucleus's own outline: below 1 is inside."""
    nuclei = patches.nuclei
    cosine, sine = _each(np.cos(nuclei.angle)), _each(np.sin(nuclei.angle))
    long, short = _each(1 / nuclei.radius), _each(1 / (nuclei.radius * nuclei.ratio))
    u = patches.dx * (cosine * long) + patches.dy * (sine * long)
    v = patches.dy * (cosine * short) - patches.dx * (sine * short)
    uu, vv = u * u, v * v
    square = uu + vv
    square += np.float32(1e-6)
    distance: Floats = np.sqrt(square)
    # cos 2t, sin 2t, cos 3t, sin 3t of the pixel's direction t, as polynomials: no arctangent needed.
    bumps = (uu - vv) * _lobe(seed, nuclei, 40)
    bumps += u * v * (2 * _lobe(seed, nuclei, 41))
    bumps += u * (uu - 3 * vv) / distance * _lobe(seed, nuclei, 42)
    bumps += v * (3 * uu - vv) / distance * _lobe(seed, nuclei, 43)
    bumps /= square
    bumps += 1
    distance /= bumps
    return distance


def draw_labels(seed: int, nuclei: Nuclei, canvas: Box) -> NDArray[np.int64]:
    """Ids of the nuclei over a canvas that reaches `HALF` beyond every centre; where two meet, the later wins.

    A karyorrhectic nucleus is labelled to its former outline, within which its fragments lie.
    """
    labels = np.zeros((canvas.h, canvas.w), np.int64)
    for patches in _chunks(nuclei, HALF, canvas):
        masks = outline(seed, patches) < 1
        for where, mask, name in zip(patches.slices(), masks, patches.nuclei.id, strict=True):
            labels[where][mask] = name
    return labels


def draw_nuclei(seed: int, ground: Ground, nuclei: Nuclei) -> None:
    """Draw nuclei onto the ground, in place. Overlaps take the larger value, so that order does not matter."""
    cover, density = np.zeros_like(ground.eosin), np.zeros_like(ground.eosin)
    _clear_halos(seed, ground, nuclei.select(nuclei.damaged))
    for half, fragmented, group in _groups(nuclei):
        for patches in _chunks(group, half, ground.box):
            mask, shade = _fragments(seed, patches) if fragmented else _solid(seed, patches, ground.grain)
            for where, m, s in zip(patches.slices(), mask, shade, strict=True):
                np.maximum(cover[where], m, out=cover[where])
                np.maximum(density[where], s, out=density[where])
    ground.haematoxylin[...] *= 1 - cover
    ground.haematoxylin[...] += density
    ground.eosin[...] *= 1 - cover * np.float32(0.55)


def _groups(nuclei: Nuclei) -> Iterator[tuple[int, bool, Nuclei]]:
    """Nuclei by the half side of the patch they fit on and by whether they are in fragments."""
    fragmented = nuclei.kind == Kind.KARYORRHECTIC
    large = nuclei.radius > _SMALL - 2.5
    yield HALF, False, nuclei.select(large & ~fragmented)
    yield _SMALL, False, nuclei.select(~large & ~fragmented)
    yield _SMALL, True, nuclei.select(fragmented)


def _solid(seed: int, patches: Patches, grain: Floats) -> tuple[Floats, Floats]:
    """Whole nuclei: soft edge, darker membrane, paler or darker body with chromatin texture."""
    nuclei = patches.nuclei
    far = outline(seed, patches)
    short = nuclei.radius * nuclei.ratio
    cover = np.clip((1 - far) * _each(short * 0.8) + np.float32(0.5), 0, 1)
    rim = np.clip(1 - np.abs(far - np.float32(0.86)) * _each(short / 1.7), 0, 1)
    shade = patches.windows(grain) * _each(nuclei.form("chromatin"))
    shade += rim * _each(nuclei.form("membrane"))
    shade += 1
    np.maximum(shade, 0.3, out=shade)
    shade *= cover
    shade *= _each(nuclei.density)
    return cover, shade


def _fragments(seed: int, patches: Patches) -> tuple[Floats, Floats]:
    """Karyorrhexis: smooth dark globules of unlike size strewn within the former outline."""
    nuclei = patches.nuclei
    cover = np.zeros((len(nuclei), patches.side, patches.side), np.float32)
    for i in range(6):
        unit = uniform(salted(seed, 50), nuclei.id[:, None], np.arange(3) + 3 * i)
        turn = spread(unit[:, 0], i - 0.3, i + 0.3) * np.float32(np.pi / 3)
        away = np.sqrt(unit[:, 1]) * nuclei.radius * np.float32(0.8)
        size = spread(unit[:, 2], 1.2, 2.6)
        dy, dx = patches.dy - _each(away * np.sin(turn)), patches.dx - _each(away * np.cos(turn))
        blob = _each(size) - np.sqrt(dy * dy + dx * dx)
        np.maximum(cover, np.clip(blob + np.float32(0.5), 0, 1), out=cover)
    return cover, cover * _each(nuclei.density * np.float32(1.1))


def _clear_halos(seed: int, ground: Ground, damaged: Nuclei) -> None:
    """A dying cell shrinks: pinker cytoplasm close about the nucleus, then a cleft on one side or all round."""
    for patches in _chunks(damaged, HALF, ground.box):
        radius = _each(patches.nuclei.radius)
        unit = uniform(salted(seed, 51), patches.nuclei.id[:, None], np.arange(4))
        away, turn = unit[:, 0] * patches.nuclei.radius * np.float32(0.5), unit[:, 1] * np.float32(2 * np.pi)
        far = outline(seed, patches)
        body = np.clip((np.float32(1.5) - far) * (radius * 0.5), 0, 1)
        dy, dx = patches.dy - _each(away * np.sin(turn)), patches.dx - _each(away * np.cos(turn))
        about = (np.sqrt(dy * dy + dx * dx) / radius + far) * np.float32(0.5)
        hollow = np.clip((_each(spread(unit[:, 2], 1.7, 2.1)) - about) * (radius * 0.35), 0, 1)
        keep = 1 - _each(spread(unit[:, 3], 0.6, 0.92)) * np.clip(hollow - body, 0, 1)
        for where, k, b in zip(patches.slices(), keep, body, strict=True):
            ground.haematoxylin[where] *= k * (1 - b)
            eosin = ground.eosin[where]
            eosin *= k
            eosin += (eosin * np.float32(0.25) + np.float32(0.014)) * b
