"""Where results are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xaipipe import Stage, hookimpl
from xaipipe_store.ome_zarr import OmeZarr

if TYPE_CHECKING:
    import typer


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [OmeZarr]


@hookimpl
def xaipipe_commands(app: typer.Typer) -> None:
    from xaipipe_store.commands import add_to  # here, since the command line imports what a run does not need

    add_to(app)
