"""Opening an image or a slide through the readers that are installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from xaipipe.errors import InputError, XaipipeError
from xaipipe.loading import blamed
from xaipipe.types import Slide

if TYPE_CHECKING:
    from xaipipe.registry import Registry


def open_slide(registry: Registry, path: str | Path) -> Slide:
    """The first reader's handle on a file, in this process, or a worded error."""
    try:
        return open_by_hooks(registry.hooks, path)
    except MemoryError:
        raise InputError("there is not enough memory to open the file", where=path) from None


def open_by_hooks(hooks: pluggy.PluginManager, path: str | Path) -> Slide:
    """The same with bare hooks, which is all that a reader process has."""
    path = Path(path)
    try:
        if not path.exists():
            raise InputError("there is no such file", where=path)
        if path.is_file() and path.stat().st_size == 0:
            raise InputError("the file is empty", where=path)
        slide = hooks.hook.open_slide(path=path)
    except XaipipeError as error:
        error.facts["where"] = error.facts["where"] or path
        raise
    except MemoryError:
        raise
    except OSError as error:
        raise InputError("the file cannot be read", got=error.strerror or error, where=path) from None
    except Exception as error:
        raise InputError("a reader failed on this file", got=blamed(hooks, error), where=path) from error
    if slide is None:
        raise InputError(
            "no reader knows this file",
            got="a folder" if path.is_dir() else "not an image, or an image of a kind that no installed reader takes",
            where=path,
            hint="`xaipipe plugins` lists the readers; pip install 'xaipipe[openslide]' adds the formats of openslide",
        )
    if not isinstance(slide, Slide):
        raise InputError(
            "a reader returned something else than a slide",
            got=type(slide).__name__,
            expected="a Slide, or None where the file is not the reader's",
            where=path,
        )
    return slide
