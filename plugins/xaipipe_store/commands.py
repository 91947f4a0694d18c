"""`xaipipe resume` and `xaipipe verify`: going on after a dead machine, and looking for damage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from xaipipe import InputError, Pipeline, UsageError
from xaipipe.cli.execute import execute_and_tell
from xaipipe.cli.run import MaxBadTiles
from xaipipe.cli.session import Session, session_of
from xaipipe.config import with_settings
from xaipipe_store.ledger import Ledger, ledger_path, results_in
from xaipipe_store.verify import Damage, all_damage

Result = Annotated[Path, typer.Argument(help="A result, or a folder of those of several targets.")]
Trust = Annotated[bool, typer.Option("--trust", help="Let a model that is code run.")]
Repair = Annotated[bool, typer.Option("--repair", help="Put damaged files back; damaged regions are computed again.")]


def add_to(app: typer.Typer) -> None:
    app.command("resume")(resume)
    app.command("verify")(verify)


def resume(context: typer.Context, output: Result, max_bad_tiles: MaxBadTiles = None, trust: Trust = False) -> None:
    """Go on with a run that ended early; what is committed is verified, and only what is not is computed."""
    _resume(session_of(context), output, trust, max_bad_tiles)


def verify(
    context: typer.Context,
    output: Result,
    repair: Repair = False,
    trust: Trust = False,
) -> None:
    """Compare every byte of a result with what was committed."""
    session = session_of(context)
    damage = [one for result in _results(output) for one in _damage(output, result)]
    if session.json and not repair:
        session.emit({"output": str(output), "damage": [{"path": d.path, "reason": d.reason} for d in damage]})
    elif not session.json:
        for one in damage:
            session.out.print(f"{one.path}: {one.reason}", markup=False)
        if not damage:
            session.out.print(f"{output}: every file is as it was committed", markup=False)
    if not damage:
        return
    if not repair:
        raise typer.Exit(InputError.exit_code)
    _resume(session, output, trust)


def _damage(output: Path, result: Path) -> list[Damage]:
    """Of a result; of one of several, under its name."""
    ledger = _ledger(result)
    try:
        found = all_damage(result, ledger)
    finally:
        ledger.close()
    return found if result == output else [Damage(f"{result.name}/{one.path}", one.reason) for one in found]


def _results(output: Path) -> list[Path]:
    """The result itself, or those in a folder of several targets."""
    return [output] if ledger_path(output).is_file() else results_in(output) or [output]


def _resume(session: Session, output: Path, trust: bool, max_bad_tiles: int | None = None) -> None:
    results = _results(output)
    recipe = _recipe(output) if results == [output] else _recipe_of_several(output, results)
    limit = [] if max_bad_tiles is None else [f"run.max_bad_tiles={max_bad_tiles}"]
    tables = with_settings(recipe["tables"], limit)
    pipeline = Pipeline(tables, registry=session.registry, base=Path(recipe["base"]), trust=trust)
    with pipeline.claimed(output, resume=True):
        execute_and_tell(session, pipeline, pipeline.prepare(recipe["slide"]), resume=True)


def _recipe(output: Path) -> dict[str, Any]:
    ledger = _ledger(output)
    begun, recipe = ledger.fact("identity"), ledger.fact("recipe")
    ledger.close()
    if begun is None:
        raise UsageError("the run ended before it had begun to write", where=output, hint="begin anew: xaipipe run")
    if recipe is None:
        raise UsageError(
            "this run was made from Python, from objects that no file names",
            where=output,
            hint="make the same Pipeline again and call its run(…, resume=True)",
        )
    found: dict[str, Any] = recipe
    return found


def _recipe_of_several(output: Path, results: Sequence[Path]) -> dict[str, Any]:
    """Of the run that asked all targets; a result that it had not begun to write has none yet."""
    recipes = [_recipe(result) for result in results if _has_begun(result)] or [_recipe(results[0])]
    targets = recipes[0].get("targets")
    if targets is None or any(recipe.get("targets") != targets for recipe in recipes):
        raise UsageError(
            "the results in this folder are not those of one run",
            got=", ".join(result.name for result in results),
            where=output,
            hint=f"go on with each by itself: xaipipe resume {results[0]}",
        )
    tables = recipes[0]["tables"]
    return {**recipes[0], "tables": {**tables, "explain": {**tables["explain"], "target": targets}}}


def _has_begun(result: Path) -> bool:
    ledger = _ledger(result)
    try:
        return ledger.fact("identity") is not None
    finally:
        ledger.close()


def _ledger(output: Path) -> Ledger:
    if not ledger_path(output).is_file():
        raise UsageError(
            "there is no run to go on with",
            got="no ledger beside the output",
            expected=ledger_path(output),
            where=output,
        )
    return Ledger(ledger_path(output))
