"""The loader that cuts a slide into tiles: background left out, stains made alike where that is asked for."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_tiles.tiles import Tiles


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [Tiles]
