"""`xaipipe methods [NAME]`: what there is, and every parameter of one method."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer
from rich.table import Table

from xaipipe.cli.session import Session, session_of
from xaipipe.errors import UsageError, did_you_mean
from xaipipe.params import rows, schema_of
from xaipipe.stages import Stage


def add_to(app: typer.Typer) -> None:
    app.command("methods")(methods)


def methods(
    context: typer.Context, name: Annotated[str | None, typer.Argument(help="A method's name.")] = None
) -> None:
    """List the methods of every stage, or show one with its parameters."""
    session = session_of(context)
    known = session.registry.methods()
    if name is None:
        _list(session, known)
        return
    found = [(method, plugin) for method, plugin in known if method.name == name]
    if not found:
        raise UsageError(f"there is no method '{name}'", hint=did_you_mean(name, session.registry.names()))
    for method, plugin in found:
        _show(session, method, plugin)


def _list(session: Session, known: list[tuple[type[Stage], str]]) -> None:
    if session.json:
        session.emit({"methods": [_facts(method, plugin) for method, plugin in known]})
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("stage", "method", "plugin", "what it does"):
        table.add_column(column, no_wrap=column != "what it does")
    for method, plugin in known:
        table.add_row(method.kind, method.name, plugin, _first_line(method))
    session.out.print(table)


def _show(session: Session, method: type[Stage], plugin: str) -> None:
    if session.json:
        session.emit(_facts(method, plugin) | {"schema": schema_of(method.Params)})
        return
    session.out.print(f"{method.name}  ({method.kind}, plugin {plugin})", style="bold")
    for paragraph in (inspect.getdoc(method) or "").split("\n\n"):
        session.out.print(" ".join(paragraph.split()), markup=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("parameter", "type", "default", "range", "meaning"):
        table.add_column(column)
    for row in rows(method.Params):
        table.add_row(row.name, row.type, row.default, row.range, row.description)
    session.out.print()
    session.out.print(table)


def _facts(method: type[Stage], plugin: str) -> dict[str, str]:
    return {"stage": method.kind, "method": method.name, "plugin": plugin, "summary": _first_line(method)}


def _first_line(method: type[Stage]) -> str:
    return (inspect.getdoc(method) or "").split("\n")[0]
