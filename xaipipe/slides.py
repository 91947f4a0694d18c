"""Opening an image or a slide through the readers that are installed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from xaipipe.errors import InputError, XaipipeError
from xaipipe.loading import blamed
from xaipipe.types import Level, Slide

if TYPE_CHECKING:
    from xaipipe.registry import Registry
    from xaipipe.stages import LoaderParams

MOST_LEVELS, MOST_PIXELS = 64, 1 << 38
"""The latter is a whole microscope slide at 0.1 µm per pixel."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
Place = str | Path


def is_url(place: Place) -> bool:
    return _URL.match(str(place)) is not None


def open_slide(registry: Registry, place: Place) -> Slide:
    """The first reader's handle on a file, a folder or a URL, in this process, or a worded error."""
    try:
        return open_by_hooks(registry.hooks, place)
    except MemoryError:
        raise InputError("there is not enough memory to open the file", where=place) from None


def open_by_hooks(hooks: pluggy.PluginManager, place: Place) -> Slide:
    """The same with bare hooks, which is all that a reader process has."""
    if is_url(place):
        return _opened(hooks, lambda: hooks.hook.open_url(url=str(place)), str(place))
    path = Path(place)
    return _opened(hooks, lambda: _open_file(hooks, path), path)


def as_asked(slide: Slide, params: LoaderParams) -> Slide:
    """The slide as the `[load]` table wants it seen."""
    from xaipipe.colour import in_srgb  # here, since reader processes import this module and change no colours
    from xaipipe.resolution import StatedResolution

    if params.mpp is not None:
        slide = StatedResolution(slide, params.mpp)
    return in_srgb(slide) if params.icc else slide


def _open_file(hooks: pluggy.PluginManager, path: Path) -> Any:
    if not path.exists():
        raise InputError("there is no such file", where=path)
    if path.is_file() and path.stat().st_size == 0:
        raise InputError("the file is empty", where=path)
    return hooks.hook.open_slide(path=path)


def _opened(hooks: pluggy.PluginManager, ask: Callable[[], Any], place: Place) -> Slide:
    try:
        slide = ask()
    except XaipipeError as error:
        error.facts["where"] = error.facts["where"] or place
        raise
    except MemoryError:
        raise
    except OSError as error:
        raise InputError("the file cannot be read", got=error.strerror or error, where=place) from None
    except Exception as error:
        raise InputError("a reader failed on this file", got=blamed(hooks, error), where=place) from error
    if slide is None:
        raise InputError(
            "no reader knows this file",
            got=_kind_of(place),
            where=place,
            hint="`xaipipe plugins` lists the readers; pip install 'xaipipe[openslide]' adds the formats of openslide",
        )
    if not isinstance(slide, Slide):
        raise InputError(
            "a reader returned something else than a slide",
            got=type(slide).__name__,
            expected="a Slide, or None where the file is not the reader's",
            where=place,
        )
    try:
        check_levels(slide.levels, place)
    except InputError:
        slide.close()
        raise
    return slide


def check_levels(levels: Sequence[Level], where: object) -> None:
    """What a header promises: levels from fine to coarse, of sizes that a specimen can have."""
    sound = 0 < len(levels) <= MOST_LEVELS and all(
        level.height > 0 and level.width > 0 and level.height * level.width <= MOST_PIXELS for level in levels
    )
    if not sound:
        sizes = ", ".join(f"{level.height} × {level.width}" for level in levels[:5]) or "no levels"
        expected = f"1 … {MOST_LEVELS} levels of at most {MOST_PIXELS} pixels"
        hint = "the file is damaged"
        raise InputError("the slide has an impossible size", got=sizes, expected=expected, where=where, hint=hint)
    spans = [level.downsample for level in levels]
    if spans[0] != 1.0 or not all(a < b < math.inf for a, b in pairwise(spans)):
        got = ", ".join(f"{span:g}" for span in spans)
        raise InputError("the slide's levels do not go from fine to coarse", got=f"downsampled {got}", where=where)


def _kind_of(place: Place) -> str:
    if isinstance(place, str):
        return "nothing, or nothing that an installed reader takes from a URL"
    return "a folder" if place.is_dir() else "not an image, or an image of a kind that no installed reader takes"
