"""Opening an image or a slide through the readers that are installed."""

from __future__ import annotations

from pathlib import Path

from xaipipe.errors import InputError, XaipipeError
from xaipipe.registry import Registry
from xaipipe.types import Slide


def open_slide(registry: Registry, path: str | Path) -> Slide:
    """The first reader's handle on a file, or a worded error."""
    path = Path(path)
    if not path.exists():
        raise InputError("there is no such file", where=path)
    if path.is_file() and path.stat().st_size == 0:
        raise InputError("the file is empty", where=path)
    try:
        slide = registry.hooks.hook.open_slide(path=path)
    except XaipipeError:
        raise
    except PermissionError:
        raise InputError("the file may not be read", where=path) from None
    if slide is None:
        raise InputError(
            "no reader knows this file",
            got="not an image, or an image of a kind that no installed reader takes",
            where=path,
            hint="`xaipipe plugins` lists the readers",
        )
    if not isinstance(slide, Slide):
        raise InputError("a reader returned something else than a slide", got=type(slide).__name__, where=path)
    return slide
