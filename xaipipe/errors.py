"""Every error a user can meet, and the exit code each one ends a command with.

    XaipipeError                    1
    ├── UsageError                  2   an unknown name, a parameter out of range, an output that is not ours
    ├── InputError                 65   a file, a model or a plugin handed over something unusable
    │   ├── BoundaryError               … at a stage boundary: plugin, tile, got and expected are named
    │   ├── UnreadableError             … a part of a slide: a run leaves it out and goes on
    │   └── SlideLostError              … the slide is gone, or not the one that was opened
    ├── StorageError               74   the output cannot be written or read back
    ├── LockedError                75   another run holds the output
    └── UntrustedError             77   running the model's code was not allowed

Exit codes 3 (FINISHED_WITH_HOLES) and 130 (interrupted) are outcomes, not errors. What is doubtful but not wrong is an
`ExplanationWarning`.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable

FINISHED_WITH_HOLES = 3
"""The exit code of a run that finished, but with tiles that could not be read."""

_LONGEST = 300


class XaipipeError(Exception):
    """An error that says what was got, what was expected, where, and what to do next."""

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        got: object = None,
        expected: object = None,
        where: object = None,
        hint: str | None = None,
    ) -> None:
        self.problem = problem
        self.facts = {"got": got, "expected": expected, "where": where, "next": hint}
        super().__init__(problem)

    def __str__(self) -> str:
        facts = [f"  {name}: {value}" for name, value in self.facts.items() if value is not None]
        return "\n".join([self.problem, *facts])


class UsageError(XaipipeError):
    """The call itself is off: a name, a parameter, a path."""

    exit_code = 2


class InputError(XaipipeError):
    """What was handed in cannot be used: a file, a model, a plugin's result."""

    exit_code = 65


class BoundaryError(InputError):
    """A stage received or returned something that breaks the contract between stages."""


class UnreadableError(InputError):
    """A part of a slide cannot be read, though it was tried again in a fresh process."""


class SlideLostError(InputError):
    """The slide is gone, or is not the one that was opened."""


class StorageError(XaipipeError):
    """The output cannot be written, or cannot be read back."""

    exit_code = 74


class LockedError(XaipipeError):
    """Another run is writing this output."""

    exit_code = 75


class UntrustedError(XaipipeError):
    """The model is code, and nobody said that it may run."""

    exit_code = 77


class ExplanationWarning(UserWarning):
    """A map that is not what the method promises: its residual or its standard error is large; it says what to do."""


def brief(error: BaseException) -> str:
    """Somebody else's error in one line; torch, for one, lists every key of a model in its message."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", _LONGEST)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """The hint for a misspelt name: the nearest choice if one is near, else all of them."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"choose one of: {', '.join(known)}" if known else "there is none to choose from"
