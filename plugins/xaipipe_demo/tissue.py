"""The lie of the land: where there is tissue, glands, lumens, inflammation, damage; and its unstained ground."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from xaipipe_demo.noise import Box, Floats, field, octaves, salted, uniform, upsample

STEP = 8
"""Pixels per cell of the coarse survey grid."""

EPITHELIUM, LUMEN = -0.05, 1.1
"""Levels of the gland field: stroma below the first, epithelium between, empty lumen above the second."""

_BANK = 1024
_WARP = 70.0


@dataclass(frozen=True)
class Land:
    """What the survey needs to know about a slide."""

    seed: int
    height: int
    width: int


@dataclass(frozen=True)
class Survey:
    """Slow fields on the grid of `STEP` pixels over `box` (in cells)."""

    box: Box
    tissue: Floats
    """Positive inside the section."""
    gland: Floats
    """See `EPITHELIUM` and `LUMEN`."""
    damage: Floats
    """Large where damaged cells cluster."""
    inflamed: Floats
    """Large where lymphocytes gather."""
    along: Floats
    across: Floats
    """Displacement of the fibres along and across their course, in pixels."""

    def crop(self, name: str, pixels: Box) -> Floats:
        """One field at pixel resolution over a window aligned to the grid, one cell inside the survey."""
        cells = Box(pixels.y // STEP, pixels.x // STEP, pixels.h // STEP, pixels.w // STEP).grown(1)
        y, x = cells.y - self.box.y, cells.x - self.box.x
        grid: Floats = getattr(self, name)[y : y + cells.h, x : x + cells.w]
        return upsample(grid, STEP)

    def at(self, name: str, y: NDArray[np.float64], x: NDArray[np.float64]) -> Floats:
        """One field at points given in pixels."""
        rows = np.floor(y / STEP).astype(np.int64) - self.box.y
        columns = np.floor(x / STEP).astype(np.int64) - self.box.x
        grid: Floats = getattr(self, name)
        return grid[rows, columns]


def survey(land: Land, box: Box) -> Survey:
    """Survey a window given in cells of `STEP` pixels."""

    def fields(salt: int, periods: dict[int, float]) -> Floats:
        return octaves(salted(land.seed, salt), box, periods, STEP)

    return Survey(
        box=box,
        tissue=_islands(land, box),
        gland=fields(11, {1024: 0.35, 256: 0.6, 128: 0.55, 32: 0.08}),
        damage=fields(12, {512: 0.8, 128: 0.6}),
        inflamed=fields(13, {512: 0.7, 128: 0.7}),
        along=fields(14, {512: 0.7, 128: 0.25}) * np.float32(_WARP),
        across=fields(15, {512: 0.8, 128: 0.3, 64: 0.06}) * np.float32(_WARP),
    )


def _islands(land: Land, box: Box) -> Floats:
    """Sections lie in the middle of the glass: noise decides their outline, the slide's rim stays empty."""
    scale = 2 ** int(np.clip(np.log2(min(land.height, land.width) / 4), 6, 11))
    key = salted(land.seed, 10)
    shape = octaves(key, box, {scale: 0.5, scale // 2: 0.35, max(scale // 8, STEP): 0.12}, STEP)
    shape += field(key, box, 32, STEP) * np.float32(0.05)
    y = (box.rows() * STEP).astype(np.float32) / np.float32(land.height)
    x = (box.columns() * STEP).astype(np.float32) / np.float32(land.width)
    rim = np.minimum(np.minimum(y, 1 - y), np.minimum(x, 1 - x)) / np.float32(0.1)
    dome = np.float32(0.75) - np.float32(1.6) * ((y - np.float32(0.5)) ** 2 + (x - np.float32(0.5)) ** 2)
    shape += dome - np.float32(1.6) * np.clip(1 - rim, 0, 2) ** 2
    return shape


@lru_cache(maxsize=4)
def fibre_bank(seed: int) -> NDArray[np.int8]:
    """A periodic texture of fibres that run along its rows, looked up through the warped coordinates."""
    frequency = np.fft.fftfreq(_BANK)[:, None], np.fft.rfftfreq(_BANK)[None, :]
    white = np.fft.rfft2(np.random.default_rng([seed, 16]).standard_normal((_BANK, _BANK)))
    bank = np.zeros((_BANK, _BANK))
    for across, along, weight in ((1.3, 14.0, 0.7), (3.5, 45.0, 1.0)):
        low_pass = np.exp(-2 * np.pi**2 * ((across * frequency[0]) ** 2 + (along * frequency[1]) ** 2))
        layer = np.fft.irfft2(white * low_pass, s=bank.shape)
        bank += weight * layer / layer.std()
    texture: NDArray[np.int8] = np.clip(bank / bank.std() * 40, -127, 127).astype(np.int8)
    return texture


def grain_angle(seed: int) -> float:
    """The fibres' main direction on this slide, in radians from the x axis."""
    return float(uniform(salted(seed, 17), 0, 0)[0]) * float(np.pi)


def fibres(land: Land, ground: Survey, pixels: Box) -> Floats:
    """Fibrous texture of about unit variance over a window, following the warped course of the stroma."""
    cosine, sine = (np.float32(f(grain_angle(land.seed))) for f in (np.cos, np.sin))
    y, x = pixels.rows().astype(np.float32), pixels.columns().astype(np.float32)
    u = ground.crop("along", pixels)
    u += x * cosine + y * sine
    v = ground.crop("across", pixels)
    v += y * cosine - x * sine
    index = v.astype(np.int32) & np.int32(_BANK - 1)
    index *= np.int32(_BANK)
    index += u.astype(np.int32) & np.int32(_BANK - 1)
    return fibre_bank(land.seed).ravel().take(index).astype(np.float32) * np.float32(1 / 40)


@dataclass(frozen=True)
class Ground:
    """Densities before any nucleus is drawn, over `box` in pixels."""

    box: Box
    haematoxylin: Floats
    eosin: Floats
    grain: Floats
    """Fine texture of unit variance: chromatin and granular cytoplasm."""


def _ramp(value: Floats, level: float, slope: float) -> Floats:
    """A soft step: 0 well below `level`, 1 well above, made in place."""
    value -= np.float32(level)
    value *= np.float32(slope)
    value += np.float32(0.5)
    return np.clip(value, 0, 1, out=value)


def paint_ground(land: Land, known: Survey, pixels: Box) -> Ground:
    """Stroma, epithelium and lumens of a window aligned to the survey's grid."""
    rough = field(salted(land.seed, 18), pixels, 8)
    grain = field(salted(land.seed, 19), pixels, 2)
    grain += field(salted(land.seed, 20), pixels, 4)
    grain *= np.float32(0.7)
    section = known.crop("tissue", pixels) + rough * np.float32(0.012)
    present = _ramp(section, 0.0, 14.0)
    gland = known.crop("gland", pixels) + rough * np.float32(0.03)
    present *= 1 - _ramp(gland.copy(), LUMEN, 10.0)
    epithelium = _ramp(gland, EPITHELIUM, 9.0)
    cells = field(salted(land.seed, 21), pixels, 16)
    eosin = _stroma(fibres(land, known, pixels), rough, grain)
    eosin += (_cytoplasm(cells, rough, grain) - eosin) * epithelium
    eosin *= present
    haematoxylin = epithelium * (cells * np.float32(0.0012) + np.float32(0.0065))
    haematoxylin += np.float32(0.0025)
    haematoxylin *= present
    return Ground(pixels, haematoxylin, eosin, grain)


def _cytoplasm(cells: Floats, rough: Floats, grain: Floats) -> Floats:
    """Granular, uneven from cell to cell, with darker seams where the unevenness changes sign."""
    density = np.clip(np.float32(0.3) - np.abs(cells), 0, 1) * np.float32(0.016)
    density += cells * np.float32(0.0022)
    density += rough * np.float32(0.002)
    density += grain * np.float32(0.0016)
    density += np.float32(0.0285)
    return density


def _stroma(fibre: Floats, rough: Floats, grain: Floats) -> Floats:
    """Collagen: bundles of unlike density with clefts between them, which show as pale slits."""
    density = fibre * np.float32(0.008)
    density += rough * np.float32(0.0015)
    density += grain * np.float32(0.0012)
    density += np.float32(0.032)
    cleft = np.clip(fibre + np.float32(1.25), -0.5, 0)
    density += cleft * np.float32(0.045)
    np.maximum(density, np.float32(0.003), out=density)
    return density
