"""Results for other people's programs. A target is one file in `targets/`; nothing else has to know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xaipipe import hookimpl
from xaipipe_export.exporter import Exporter

if TYPE_CHECKING:
    import typer

__all__ = ["Exporter"]


@hookimpl
def xaipipe_commands(app: typer.Typer) -> None:
    from xaipipe_export.command import add_to  # here, since the command line imports what a run does not need

    add_to(app)
