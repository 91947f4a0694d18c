"""The slide: every pixel a function of (seed, coordinate), whatever window it is asked for in.

Work is done in world-aligned blocks, each made with its own margin and then cropped, so that a tile is the same
bytes however it is cut. Nothing is stored but a handful of recent blocks.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xaipipe_demo import artefacts as wrong
from xaipipe_demo.draw import HALF, draw_labels, draw_nuclei
from xaipipe_demo.noise import Box, Floats, salted
from xaipipe_demo.nuclei import OUTREACH, Nuclei, place
from xaipipe_demo.stain import develop, staining
from xaipipe_demo.tissue import STEP, Land, Survey, paint_ground, survey

BLOCK = 512
"""Side of the blocks in which pixels are made."""

_MARGIN = 8
_CANVAS = _MARGIN + 48
_SENSOR_NOISE = np.float32(1.6)
_KEPT = 12


class _Recent:
    """The last few blocks, for readers whose tiles do not fit the blocks. Safe between threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Box], Any] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[str, Box], make: Callable[[Box], Any]) -> Any:
        """The block of that kind and place, made if need be."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make(key[1])
        with self._lock:
            self._kept[key] = made
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made

    # Locks do not travel to worker processes, and blocks need not: they can be made again.
    def __reduce__(self) -> tuple[type["_Recent"], tuple[()]]:
        return _Recent, ()


@dataclass(frozen=True)
class Scene:
    """A synthetic H&E section."""

    seed: int
    height: int
    width: int
    mpp: float = 0.5
    """Micrometres per pixel that the slide claims; the picture is drawn for 0.5."""
    damaged: float = 0.04
    """About which share of the nuclei is damaged."""
    artefacts: frozenset[wrong.Artefact] = frozenset()
    _recent: _Recent = field(default_factory=_Recent, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        unknown = set(self.artefacts) - wrong.ARTEFACTS
        if unknown:
            raise ValueError(f"artefacts: got {sorted(unknown)}, expected some of {sorted(wrong.ARTEFACTS)}")
        if min(self.height, self.width) < 1:
            raise ValueError(f"slide of {self.height} x {self.width} pixels: both must be at least 1")

    @property
    def land(self) -> Land:
        """What the lay of the tissue depends on."""
        return Land(self.seed, self.height, self.width)

    def rgb(self, y: int, x: int, h: int, w: int) -> NDArray[np.uint8]:
        """The picture, uint8 [h, w, 3]."""
        return self._assemble(Box(y, x, h, w), np.empty((h, w, 3), np.uint8), "rgb", self._rgb_block)

    def truth(self, y: int, x: int, h: int, w: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Nucleus ids [h, w], unique on the slide with 0 between nuclei, and where those nuclei are damaged."""
        box = Box(y, x, h, w)
        labels = self._assemble(box, np.empty((h, w), np.int64), "labels", self._label_block)
        near = self.nuclei(*box.grown(HALF))
        return labels, np.isin(labels, near.id[near.damaged])

    def nuclei(self, y: int, x: int, h: int, w: int) -> Nuclei:
        """The nuclei whose centre lies in the window, in order of id."""
        box = Box(y, x, h, w)
        return place(self.land, self._survey(box, OUTREACH), box, self.damaged)

    def tissue(self, y: int, x: int, h: int, w: int) -> NDArray[np.bool_]:
        """Where the section is, lumens included."""
        box = Box(y, x, h, w)
        return self._assemble(box, np.empty((h, w), np.bool_), "tissue", self._tissue_block)

    def _assemble(self, box: Box, out: NDArray[Any], name: str, make: Callable[[Box], Any]) -> NDArray[Any]:
        """Fill a window from the blocks under it."""
        if min(box.h, box.w) < 1:
            raise ValueError(f"window of {box.h} x {box.w} pixels: both must be at least 1")
        for block in _blocks(box):
            made = self._recent.get((name, block), make)
            top, left = max(box.y, block.y), max(box.x, block.x)
            bottom, right = min(box.y + box.h, block.y + BLOCK), min(box.x + box.w, block.x + BLOCK)
            part = made[top - block.y : bottom - block.y, left - block.x : right - block.x]
            out[top - box.y : bottom - box.y, left - box.x : right - box.x] = part
        return out

    def _survey(self, box: Box, margin: int) -> Survey:
        """The coarse fields for a window and what lies within `margin` of it."""
        wide = box.grown(margin)
        top, left = wide.y // STEP, wide.x // STEP
        bottom, right = -(-(wide.y + wide.h) // STEP), -(-(wide.x + wide.w) // STEP)
        return survey(self.land, Box(top, left, bottom - top, right - left).grown(2))

    def _tissue_block(self, block: Box) -> NDArray[np.bool_]:
        return self._survey(block, STEP).crop("tissue", block) > 0

    def _label_block(self, block: Box) -> NDArray[np.int64]:
        canvas = block.grown(2 * HALF)
        nuclei = self.nuclei(*block.grown(HALF))
        return draw_labels(self.seed, nuclei, canvas)[2 * HALF : -2 * HALF, 2 * HALF : -2 * HALF]

    def _rgb_block(self, block: Box) -> NDArray[np.uint8]:
        light = self._light(block)
        light *= np.float32(255)
        at = (block.y & 0xFFFFFFFF, block.x & 0xFFFFFFFF)
        rng = np.random.Generator(np.random.SFC64([salted(self.seed, 2), *at]))
        light += rng.standard_normal(light.shape, np.float32) * _SENSOR_NOISE + np.float32(0.5)
        np.clip(light, 0, 255, out=light)
        return np.ascontiguousarray(light.astype(np.uint8).transpose(1, 2, 0))

    def _light(self, block: Box) -> Floats:
        """Transmitted light [3, BLOCK, BLOCK] before the sensor."""
        if self._survey(block, _CANVAS).tissue.max() < -0.1:
            light = np.empty((3, BLOCK, BLOCK), np.float32)
            light[...] = np.array(staining(self.seed).light, np.float32)[:, None, None]
        else:
            light = develop(*self._densities(block), staining(self.seed))
        if "pen" in self.artefacts:
            wrong.pen(self.land, block, light)
        return light

    def _densities(self, block: Box) -> tuple[Floats, Floats]:
        """Haematoxylin and eosin of a block, blurred as by an objective."""
        canvas = block.grown(_CANVAS)
        known = self._survey(canvas, OUTREACH)
        ground = paint_ground(self.land, known, canvas)
        nuclei = place(self.land, known, block.grown(_MARGIN + HALF + 1), self.damaged)
        draw_nuclei(self.seed, ground, nuclei)
        inner = slice(_CANVAS - _MARGIN, _MARGIN - _CANVAS)
        pixels = block.grown(_MARGIN)
        planes = ground.haematoxylin[inner, inner], ground.eosin[inner, inner]
        if "fold" in self.artefacts:
            wrong.fold(self.land, pixels, *planes)
        planes = soften(planes[0]), soften(planes[1])
        if "blur" in self.artefacts:
            for plane in planes:
                wrong.defocus(self.land, pixels, plane)
        return planes[0][_MARGIN:-_MARGIN, _MARGIN:-_MARGIN], planes[1][_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def soften(plane: Floats) -> Floats:
    """The binomial blur [1 2 1] / 4 both ways; the outermost pixels stay as they are."""
    out = plane.copy()
    out[1:-1] += plane[:-2] * np.float32(0.5)
    out[1:-1] += plane[2:] * np.float32(0.5)
    out[1:-1] *= np.float32(0.5)
    down = out.copy()
    out[:, 1:-1] += down[:, :-2] * np.float32(0.5)
    out[:, 1:-1] += down[:, 2:] * np.float32(0.5)
    out[:, 1:-1] *= np.float32(0.5)
    return out


def _blocks(box: Box) -> Iterator[Box]:
    """The world-aligned blocks under a window."""
    for y in range(box.y // BLOCK * BLOCK, box.y + box.h, BLOCK):
        for x in range(box.x // BLOCK * BLOCK, box.x + box.w, BLOCK):
            yield Box(y, x, BLOCK, BLOCK)
