"""Opening an image or a slide through the readers that are installed."""

from __future__ import annotations

from pathlib import Path

from xaipipe.errors import InputError, XaipipeError
from xaipipe.registry import Registry
from xaipipe.resolution import StatedResolution
from xaipipe.stages import LoaderParams
from xaipipe.types import Slide


def open_slide(registry: Registry, path: str | Path) -> Slide:
    """The first reader's handle on a file, or a worded error."""
    path = Path(path)
    try:
        if not path.exists():
            raise InputError("there is no such file", where=path)
        if path.is_file() and path.stat().st_size == 0:
            raise InputError("the file is empty", where=path)
        slide = registry.hooks.hook.open_slide(path=path)
    except XaipipeError:
        raise
    except OSError as error:
        raise InputError("the file cannot be read", got=error.strerror or error, where=path) from None
    except Exception as error:
        raise InputError("a reader failed on this file", got=registry.blamed(error), where=path) from error
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


def as_asked(slide: Slide, params: LoaderParams) -> Slide:
    """The slide as the `[load]` table wants it seen."""
    return slide if params.mpp is None else StatedResolution(slide, params.mpp)
