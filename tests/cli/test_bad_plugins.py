"""Plugins that break the contract while running: exit 65, and plugin and tile are named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

PLUGIN = """
import torch
from xaipipe import *
from xaipipe import hookimpl

class Mine(Explainer):
    name = "mine"
    def explain(self, batch, model):
        n = len(batch.pixels)
        values, scores = torch.zeros(n, 1, 8, 8), torch.zeros(n)
        made = Explanation(values, Grid((4.0, 4.0)), (0,) * n, scores, (32, 32), tiles=batch.tiles)
        {}

@hookimpl
def xaipipe_methods(): return [Mine]
"""


@pytest.fixture
def mine(cli: Cli, tmp_path: Path, slide_file: Path, run_file: Path) -> Cli:
    """Run a plugin's explainer, given how its function ends."""

    def call(ending: str, command: str = "run") -> Any:
        (tmp_path / "mine.py").write_text(PLUGIN.format(ending))
        output = "out.zarr" if command == "run" else "out.png"
        given = ["--set", "explain.method=mine", "--trust", "-o", output]
        return cli("--plugin", "mine.py", command, slide_file, "--config", run_file, *given)

    return call


@pytest.mark.parametrize("command", ["run", "explain"])
def test_a_plugin_that_keeps_the_contract_runs(mine: Cli, command: str) -> None:
    answer = mine("return made", command)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("command", ["run", "explain"])
@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("return made.values", "returned the wrong type\n  got: Tensor\n  expected: a Explanation\n"),
        ("return None", "returned the wrong type\n  got: NoneType\n  expected: a Explanation\n"),
        ("return made.replace(values=values[0])", "returned values of the wrong shape\n  got: (1, 8, 8)\n"),
        (
            "return made.replace(values=values / 0)",
            "returned values that are not finite\n  got: NaN or infinity",
        ),
        ("return made.replace(values=values.int())", "returned values of the wrong type\n  got: torch.int32\n"),
        ("return made.replace(scores=scores[:, None])", "returned scores of the wrong shape\n"),
        ("return made.replace(targets=())", "returned the wrong number of targets\n  got: 0\n"),
    ],
)
def test_a_breach_is_65_naming_plugin_and_tile(mine: Cli, command: str, ending: str, message: str) -> None:
    answer = mine(ending, command)
    assert answer.code == 65, answer.err
    assert f"error: explain method 'mine' {message}" in answer.err
    if command == "run":  # a photograph is one tensor; it has no tiles
        assert "where: plugin 'mine'; slide.tif level 0 y=0 x=0 h=32 w=32 halo=0" in answer.err
    assert not Path("out.zarr").exists()
    assert not Path("out.png").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module", "got: ModuleNotFoundError: No module named 'no_such_module' (mine.py:1)"),
        ("from xaipipe import hookimpl\n@hookimpl\ndef xaipipe_methods(): return [3]", "something else than a method"),
    ],
)
def test_a_plugin_file_that_cannot_be_loaded_is_65(cli: Cli, tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    answer = cli("--plugin", "mine.py", "methods")
    assert answer.code == 65
    assert "error: plugin 'mine' cannot be loaded\n" in answer.err
    assert message in answer.err
    assert "where: mine.py" in answer.err


def test_an_installed_plugin_that_is_broken_does_not_stop_a_run(
    cli: Cli, install: Callable[..., None], slide_file: Path, run_file: Path
) -> None:
    install("xp_bad", "1 / 0")
    assert cli("run", slide_file, "--config", run_file, "--trust", "-o", "out.zarr").code == 0


def test_a_method_of_a_broken_plugin_is_missed_with_the_reason(
    cli: Cli, install: Callable[..., None], photograph: Path
) -> None:
    install("xp_bad", "1 / 0")
    answer = cli("explain", photograph, "--method", "theirs", "--model", "timm:x")
    assert answer.code == 2
    assert "where: plugin 'xp_bad' is broken: ZeroDivisionError: division by zero (xp_bad.py:3)" in answer.err


def test_two_plugins_with_one_method_are_refused_naming_both(cli: Cli, tmp_path: Path) -> None:
    for name in ("mine.py", "theirs.py"):
        (tmp_path / name).write_text(PLUGIN.format("return made"))
    answer = cli("--plugin", "mine.py", "--plugin", "theirs.py", "methods")
    assert answer.code == 2
    assert answer.err == (
        "error: two plugins bring the explain method 'mine'\n"
        "  got: 'mine' and 'theirs'\n"
        "  next: leave one out: -p no:mine or -p no:theirs\n"
    )
    assert cli("--plugin", "mine.py", "--plugin", "theirs.py", "-p", "no:theirs", "methods", "mine").code == 0
