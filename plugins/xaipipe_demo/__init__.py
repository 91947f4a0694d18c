"""A synthetic H&E slide with ground truth, and a small network that tells damaged cells from healthy ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xaipipe import hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def xaipipe_commands(app: typer.Typer) -> None:
    from xaipipe_demo.command import add_to  # here, since most commands never need what it imports

    add_to(app)
