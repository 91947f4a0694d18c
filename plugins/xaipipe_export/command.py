"""`xaipipe export`: a result as other programs want it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from xaipipe import UsageError
from xaipipe.cli.flags import PASS_ON, split_flags
from xaipipe.cli.session import session_of
from xaipipe.errors import did_you_mean
from xaipipe.params import rows
from xaipipe_export.exporter import Exporter, exporters
from xaipipe_export.place import exported_to
from xaipipe_export.result import Result


def add_to(app: typer.Typer) -> None:
    app.command("export", context_settings=PASS_ON, help=_help(exporters()))(export)


def export(
    context: typer.Context,
    result: Annotated[str, typer.Argument(help="A finished result.")],
    to: Annotated[str, typer.Option(help="The target; see above.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder or file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export of ours.")] = False,
) -> None:
    session = session_of(context)
    known = exporters()
    if to not in known:
        raise UsageError(f"there is no target '{to}'", hint=did_you_mean(to, known))
    chosen = known[to]
    own = [option for param in context.command.params for option in param.opts if option.startswith("--")]
    # where a flag of the target comes first, its name lands in `result`
    flags, results = split_flags([result, *context.args], chosen.Params, to, own)
    if len(results) != 1:
        raise UsageError("export takes one result", got=" ".join(results) or "none")
    exporter = chosen(chosen.Params.parse(flags, f"target '{to}'"), session.registry)
    opened = Result(Path(results[0]))
    with exported_to(output, chosen, overwrite) as place:
        facts = {"output": str(output), **exporter.write(opened, place)}
    if session.json:
        session.emit(facts)
        return
    for name, fact in facts.items():
        session.out.print(f"{name:>8}  {fact}", soft_wrap=True)  # paths stay whole


def _help(known: Mapping[str, type[Exporter]]) -> str:
    paragraphs = ["Write a result for other programs."]
    paragraphs.extend(f"--to {name}: {_sentence(exporter)}{_flags(exporter)}" for name, exporter in known.items())
    return "\n\n".join(paragraphs)


def _sentence(exporter: type[Exporter]) -> str:
    return " ".join((inspect.getdoc(exporter) or "").split("\n\n")[0].split())


def _flags(exporter: type[Any]) -> str:
    described = [
        f" --{row.name.replace('_', '-')} ({row.default}): {row.description}." for row in rows(exporter.Params)
    ]
    return "".join(described)
