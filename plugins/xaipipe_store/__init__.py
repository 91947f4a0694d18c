"""Where results are kept."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_store.ome_zarr import OmeZarr


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [OmeZarr]
