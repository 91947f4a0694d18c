"""Opening an image or a slide through the readers that are installed."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from xaipipe.colour import in_srgb
from xaipipe.errors import InputError, XaipipeError
from xaipipe.registry import Registry
from xaipipe.resolution import StatedResolution
from xaipipe.stages import LoaderParams
from xaipipe.types import Slide

MOST_PIXELS = 1 << 38
"""A whole microscope slide at 0.1 µm per pixel."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def open_slide(registry: Registry, place: str | Path) -> Slide:
    """The first reader's handle on a file, a folder or a URL, or a worded error."""
    hooks = registry.hooks.hook
    if _URL.match(str(place)):
        return _opened(registry, lambda: hooks.open_url(url=str(place)), str(place))
    path = Path(place)
    return _opened(registry, lambda: _open_file(hooks, path), path)


def as_asked(slide: Slide, params: LoaderParams) -> Slide:
    """The slide as the `[load]` table wants it seen."""
    if params.mpp is not None:
        slide = StatedResolution(slide, params.mpp)
    return in_srgb(slide) if params.icc else slide


def _open_file(hooks: Any, path: Path) -> Any:
    if not path.exists():
        raise InputError("there is no such file", where=path)
    if path.is_file() and path.stat().st_size == 0:
        raise InputError("the file is empty", where=path)
    return hooks.open_slide(path=path)


def _opened(registry: Registry, ask: Callable[[], Any], place: str | Path) -> Slide:
    try:
        slide = ask()
    except XaipipeError:
        raise
    except OSError as error:
        raise InputError("the file cannot be read", got=error.strerror or error, where=place) from None
    except Exception as error:
        raise InputError("a reader failed on this file", got=registry.blamed(error), where=place) from error
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
        check_levels(slide)
    except InputError:
        slide.close()
        raise
    return slide


def check_levels(slide: Slide) -> None:
    """What a header promises: levels from fine to coarse, of a size that a specimen can have."""
    largest = max(level.height * level.width for level in slide.levels)
    if largest > MOST_PIXELS:
        raise InputError(
            "the slide is larger than any specimen",
            got=f"{largest} pixels",
            expected=f"at most {MOST_PIXELS}",
            where=slide,
            hint="its header is damaged",
        )
    spans = [level.downsample for level in slide.levels]
    if spans[0] != 1.0 or any(b <= a for a, b in pairwise(spans)):
        got = ", ".join(f"{span:g}" for span in spans)
        raise InputError("the slide's levels do not go from fine to coarse", got=f"downsampled {got}", where=slide)


def _kind_of(place: str | Path) -> str:
    if isinstance(place, str):
        return "nothing, or nothing that an installed reader takes from a URL"
    return "a folder" if place.is_dir() else "not an image, or an image of a kind that no installed reader takes"
