"""`xaipipe plugins`: every plugin and what became of it."""

from __future__ import annotations

import typer
from rich.table import Table
from rich.text import Text

from xaipipe.cli.session import session_of

_STYLES = {"loaded": "green", "blocked": "yellow", "broken": "bold red"}


def add_to(app: typer.Typer) -> None:
    app.command("plugins")(plugins)


def plugins(context: typer.Context) -> None:
    """List plugins: loaded, blocked, or broken with the reason."""
    session = session_of(context)
    known = session.registry.plugins
    if session.json:
        session.emit({"plugins": [{k: getattr(p, k) for k in ("name", "origin", "state", "reason")} for p in known]})
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("plugin", "from", "state", "reason"):
        table.add_column(column)
    for plugin in known:
        table.add_row(plugin.name, plugin.origin, Text(plugin.state, _STYLES[plugin.state]), plugin.reason)
    session.out.print(table)
