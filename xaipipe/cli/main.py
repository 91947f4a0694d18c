"""Entry point: global options, plugins' commands, and every error as a message with its exit code."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from xaipipe.cli import doctor, explain, layers, methods, plugins, run
from xaipipe.cli.flags import GLOBAL_HINT
from xaipipe.cli.session import Session, plain_console
from xaipipe.errors import InputError, StorageError, UsageError, XaipipeError
from xaipipe.models.forward import is_out_of_memory
from xaipipe.registry import Registry

INTERRUPTED = 130
_LESS_MEMORY = "explain a smaller picture, or choose another device"


@dataclass(frozen=True)
class GlobalOptions:
    """What stands before the command: it decides which commands there are."""

    blocked: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    json: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; the console script hands it to `sys.exit`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    as_json = "--json" in arguments
    try:
        options = read_global_options(arguments)
        session = Session(Registry(options.blocked, options.files), options.json)
        answer = build_app(session.registry)(args=arguments, obj=session, prog_name="xaipipe", standalone_mode=False)
        if answer == INTERRUPTED:  # typer answers an interruption by its code, without a word
            raise KeyboardInterrupt
        return answer if isinstance(answer, int) else 0
    except XaipipeError as error:
        _report(str(error), error.exit_code, as_json)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _report("interrupted", INTERRUPTED, as_json)
        return INTERRUPTED
    except OSError as error:
        refused = StorageError("the system refused", got=error.strerror or error, where=error.filename)
        _report(str(refused), refused.exit_code, as_json)
        return refused.exit_code
    except Exception as error:
        if hasattr(error, "format_message"):  # what typer raises over a command line it cannot read
            _report(f"{error.format_message()}\n  next: {_help_of(error)}", UsageError.exit_code, as_json)
            return UsageError.exit_code
        if is_out_of_memory(error):
            said = InputError("there is not enough memory", got=str(error).split("\n")[0], hint=_LESS_MEMORY)
            _report(str(said), said.exit_code, as_json)
            return said.exit_code
        traceback.print_exc()
        _report(f"unexpected {type(error).__name__}: {error}", XaipipeError.exit_code, as_json)
        return XaipipeError.exit_code


def build_app(registry: Registry) -> typer.Typer:
    """The core's commands and the plugins'."""
    app = typer.Typer(
        name="xaipipe",
        help="Explain vision models, from one photograph to a gigapixel whole-slide image.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_global_options)
    for command in (explain, run, methods, layers, plugins, doctor):
        command.add_to(app)
    registry.answers("xaipipe_commands", app=app)
    return app


def read_global_options(arguments: Sequence[str]) -> GlobalOptions:
    """The options before the command, read ahead of everything else since plugins add commands."""
    blocked, files, as_json = [], [], False
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if len(argument) > 2 and argument.startswith("-p"):  # -pno:NAME
            name, equals, value = "-p", "=", argument[2:].removeprefix("=")
        if name in ("-p", "--plugin"):
            value = value if equals else next(rest, "")
            if not value:
                raise UsageError(f"{name} wants a value", expected="-p no:NAME or --plugin FILE.py")
            if name == "--plugin":
                files.append(value)
            else:
                blocked.append(_blocked_name(value))
        elif argument == "--json":
            as_json = True
        elif not argument.startswith("-"):
            break
    return GlobalOptions(tuple(blocked), tuple(files), as_json)


def _blocked_name(value: str) -> str:
    prefix, colon, name = value.partition(":")
    if prefix != "no" or not colon or not name:
        raise UsageError("-p wants no:NAME", got=f"-p {value}", hint="`xaipipe plugins` lists the names")
    return name


def _global_options(
    _blocked: Annotated[
        list[str] | None, typer.Option("-p", metavar="no:NAME", help="Leave a plugin out; may be repeated.")
    ] = None,
    _files: Annotated[
        list[str] | None,
        typer.Option("--plugin", metavar="FILE.py", help="Load a plugin from a file; may be repeated."),
    ] = None,
    _json: Annotated[bool, typer.Option("--json", help="Results and errors as JSON, for machines.")] = False,
) -> None:
    """Explain vision models, from one photograph to a gigapixel whole-slide image."""


def _help_of(error: Any) -> str:
    if getattr(error, "option_name", None) in ("--json", "--plugin", "-p"):
        return GLOBAL_HINT
    context = getattr(error, "ctx", None)
    return f"{context.command_path} --help" if context else "xaipipe --help"


def _report(message: str, exit_code: int, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"error": message, "exit_code": exit_code}) + "\n")
        return
    first, *rest = message.splitlines()
    console = plain_console(stderr=True, soft_wrap=True)
    console.print("error:", style="bold red", end=" ")
    console.print(first)
    for line in rest:
        console.print(line)


def run_as_script() -> Any:
    """For the console script."""
    sys.exit(main())
