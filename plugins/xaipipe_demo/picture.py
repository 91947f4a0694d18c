"""The demo's picture: the slide with its heat, and a close-up with what is there and what was found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import zarr
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from xaipipe import Grid, Instance, Slide, to_pixels
from xaipipe.display import Picture, overlay
from xaipipe_demo.judge import blocks
from xaipipe_demo.scene import Scene

_OVERVIEW = 1024
_CLOSE_UP = 256
_SIDE = 512
_BAR, _GAP = 30, 8
_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_TRUE, _FOUND = (0, 160, 255), (255, 225, 0)


@dataclass(frozen=True)
class Result:
    """What the picture is made from."""

    scene: Scene
    slide: Slide
    store: zarr.Group
    grid: Grid
    instances: tuple[Instance, ...]

    def heat(self, y: int, x: int, h: int, w: int) -> np.ndarray:
        """A box of the heatmap, in cells; 0 where nothing was explained."""
        return np.nan_to_num(np.asarray(self.store["heatmap/0"][0, y : y + h, x : x + w]))

    def labels(self, y: int, x: int, h: int, w: int) -> np.ndarray:
        """A box of the labels, in pixels."""
        return np.asarray(self.store["heatmap/labels/segmentation/0"][y : y + h, x : x + w])


def demo_picture(result: Result) -> Picture:
    """An overview of 1024 px on the left, two close-ups of 512 px on the right, a caption under each."""
    limit = _limit(result)
    box = densest_box(result.instances, result.scene.height, result.scene.width)
    canvas = Image.new("RGB", (_OVERVIEW + _GAP + _SIDE, _OVERVIEW + 2 * _BAR), _PAPER)
    overview = Image.fromarray(_overview(result, limit)).resize((_OVERVIEW, _OVERVIEW))
    _frame(overview, box, result)
    plain, heated = _close_ups(result, box, limit)
    size = f"{result.scene.height} x {result.scene.width} px"
    right = _OVERVIEW + _GAP
    _paste(canvas, overview, (0, 0), f"The whole slide ({size}). Bright: evidence for 'damaged'. Box: the close-up.")
    _paste(canvas, Image.fromarray(plain), (right, 0), "Close-up: the tissue")
    _paste(canvas, Image.fromarray(heated), (right, _SIDE + _BAR), "Evidence. Blue: damaged cells. Yellow: found.")
    return Picture(np.asarray(canvas))


def densest_box(instances: tuple[Instance, ...], height: int, width: int) -> tuple[int, int, int, int]:
    """The close-up's box (y, x, h, w): where most objects are, not across the slide's border."""
    side = min(_CLOSE_UP, height, width)
    if not instances:
        return (height - side) // 2, (width - side) // 2, side, side
    places = Counter((int(one.centre_y) // side, int(one.centre_x) // side) for one in instances)
    row, column = max(sorted(places), key=places.__getitem__)
    return min(row * side, height - side), min(column * side, width - side), side, side


def _overview(result: Result, limit: float) -> np.ndarray:
    """The smallest level that is large enough, with the strongest heat of every pixel over it."""
    levels = [i for i, level in enumerate(result.slide.levels) if level.height >= _OVERVIEW] or [0]
    level = result.slide.levels[levels[-1]]
    stride = max(level.height // _OVERVIEW, 1)
    rows = [
        result.slide.read(levels[-1], y, 0, min(stride * 256, level.height - y), level.width)[::stride, ::stride]
        for y in range(0, level.height, stride * 256)
    ]
    rgb = np.concatenate(rows)
    grey = rgb.mean(axis=2, keepdims=True)  # so that the heat, small dots at this scale, is what one sees
    faded = np.broadcast_to(255 - (255 - grey) * 0.45, rgb.shape)
    return overlay(faded, _strongest(result, rgb.shape[0], rgb.shape[1]), limit)


def _strongest(result: Result, height: int, width: int) -> np.ndarray:
    """The heatmap at a smaller size: of all cells that fall into a pixel the strongest, a band at a time."""
    _, cells_y, cells_x = result.store["heatmap/0"].shape
    if cells_y < height or cells_x < width:  # cells wider than a pixel of the overview
        pixels = _heat_at_pixels(result, (0, 0, result.scene.height, result.scene.width))
        step_y, step_x = (max(n // m, 1) for n, m in zip(pixels.shape, (height, width), strict=True))
        return pixels[::step_y, ::step_x][:height, :width]
    small = np.zeros((height, width), np.float32)
    for y, x, h, w in blocks(cells_y, cells_x, 1024):
        to_y = (np.arange(y, y + h) * height // cells_y)[:, None]
        to_x = (np.arange(x, x + w) * width // cells_x)[None, :]
        np.maximum.at(small, (to_y, to_x), result.heat(y, x, h, w))
    return small


def _close_ups(result: Result, box: tuple[int, int, int, int], limit: float) -> tuple[np.ndarray, np.ndarray]:
    y, x, h, w = box
    rgb = result.slide.read(0, y, x, h, w)
    cells, damaged = result.scene.truth(y, x, h, w)
    heat = _heat_at_pixels(result, box)
    plain, heated = (_enlarged(picture) for picture in (rgb, overlay(rgb, heat, limit)))
    for labels, colour in ((result.labels(*box), _FOUND), (np.where(damaged, cells, 0), _TRUE)):
        heated[find_boundaries(_enlarged(labels), mode="thick")] = colour
    return plain, heated


def _heat_at_pixels(result: Result, box: tuple[int, int, int, int]) -> np.ndarray:
    """The heat of a box, every cell where its grid says."""
    import torch

    y, x, h, w = box
    step, margin = int(result.grid.scale[0]), 2
    top, left = max(y // step - margin, 0), max(x // step - margin, 0)
    values = result.heat(top, left, h // step + 2 * margin, w // step + 2 * margin)
    local = Grid(result.grid.scale, (result.grid.offset[0] + top * step, result.grid.offset[1] + left * step))
    return to_pixels(torch.from_numpy(values)[None, None], local, (h, w), (y, x))[0, 0].numpy()


def _limit(result: Result) -> float:
    """What is shown in full colour: the median of the objects' peaks."""
    return float(np.median([one.peak for one in result.instances])) if result.instances else 1.0


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """To the side of a panel, pixels staying square."""
    factor = max(_SIDE // picture.shape[0], 1)
    return np.repeat(np.repeat(picture, factor, axis=0), factor, axis=1)[:_SIDE, :_SIDE]


def _frame(overview: Image.Image, box: tuple[int, int, int, int], result: Result) -> None:
    sy, sx = overview.height / result.scene.height, overview.width / result.scene.width
    y, x, h, w = box
    corners = (x * sx - 3, y * sy - 3, (x + w) * sx + 3, (y + h) * sy + 3)
    ImageDraw.Draw(overview).rectangle(corners, outline=_INK, width=3)


def _paste(canvas: Image.Image, panel: Image.Image, place: tuple[int, int], caption: str) -> None:
    canvas.paste(panel, place)
    at = (place[0] + 8, place[1] + panel.height + 5)
    ImageDraw.Draw(canvas).text(at, caption, fill=_INK, font=ImageFont.load_default(size=18))
