"""What every command needs: the plugins, and where to print."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.console import Console

from xaipipe.registry import Registry


@dataclass(frozen=True)
class Session:
    """One call of the command line. Results go to stdout, everything else to stderr."""

    registry: Registry
    json: bool
    out: Console = field(default_factory=lambda: plain_console())
    err: Console = field(default_factory=lambda: plain_console(stderr=True))

    def emit(self, facts: Mapping[str, Any]) -> None:
        """Facts for machines, on stdout."""
        sys.stdout.write(json.dumps(facts, default=str) + "\n")


def plain_console(**options: Any) -> Console:
    """A console that prints what it is given: brackets in names, shapes and reasons are not markup."""
    return Console(highlight=False, markup=False, emoji=False, **options)


def session_of(context: typer.Context) -> Session:
    session = context.obj
    assert isinstance(session, Session)
    return session
