"""The command line as a whole: global options, JSON, interruption, and the script that people start."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
SCRIPT = [sys.executable, "-c", "from xaipipe.cli.main import run_as_script; run_as_script()"]


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_every_command(cli: Cli, arguments: list[str]) -> None:
    answer = cli(*arguments)
    assert answer.code == 0
    assert answer.err == ""
    for command in ("explain", "run", "methods", "plugins", "doctor"):
        assert f"\n  {command} " in answer.out


@pytest.mark.parametrize("command", ["explain", "run", "methods", "plugins", "doctor"])
def test_every_command_has_help(cli: Cli, command: str) -> None:
    answer = cli(command, "--help")
    assert answer.code == 0
    assert f"Usage: xaipipe {command}" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explian"], "error: No such command 'explian'. Did you mean 'explain'?\n  next: xaipipe --help\n"),
        (["methods", "--jsn"], "error: No such option: --jsn\n  next: xaipipe methods --help\n"),
        (["--jsn", "methods"], "error: No such option: --jsn (Possible options: --json)\n  next: xaipipe --help\n"),
        (["run"], "error: Missing argument 'slide'.\n  next: xaipipe run --help\n"),
        (
            ["-p", "cam", "methods"],
            "error: -p wants no:NAME\n  got: -p cam\n  next: `xaipipe plugins` lists the names\n",
        ),
        (["-p"], "error: -p wants a value"),
        (["--plugin"], "error: --plugin wants a value"),
        (["--plugin", "nowhere.py", "methods"], "error: there is no such plugin file\n  where: nowhere.py\n"),
        (["-p", "no:camm", "methods"], "error: there is no plugin 'camm' to leave out\n  next: did you mean 'cam'?\n"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_worded(cli: Cli, arguments: list[str], message: str) -> None:
    answer = cli(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert message in answer.err


@pytest.mark.parametrize("arguments", [["methods", "--json"], ["explain", "a.png", "--json"]])
def test_a_global_option_behind_the_command_is_answered_in_json_with_its_place(cli: Cli, arguments: list[str]) -> None:
    answer = cli(*arguments)
    assert answer.code == 2
    assert "next: global options come before the command: xaipipe --json" in json.loads(answer.out)["error"]


@pytest.mark.parametrize("option", [["-p", "no:cam"], ["-pno:cam"], ["-p=no:cam"]])
def test_a_plugin_is_left_out_however_the_option_is_written(cli: Cli, option: list[str]) -> None:
    answer = cli(*option, "methods", "gradcam")
    assert (answer.code, answer.err.splitlines()[0]) == (2, "error: there is no method 'gradcam'")
    assert cli("methods", "gradcam").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["methods", "gradcan"], 2),
        (["nonsense"], 2),
        (["explain", "nowhere.png", "--model", "timm:x"], 65),
        (["explain", "nowhere.png"], 2),
        (["-p", "no:camm", "methods"], 2),
    ],
)
def test_an_error_as_json_is_one_object_on_stdout(cli: Cli, arguments: list[str], code: int) -> None:
    answer = cli("--json", *arguments)
    facts = json.loads(answer.out)
    assert answer.code == code == facts["exit_code"]
    assert facts["error"]
    assert answer.out.count("\n") == 1
    assert answer.err == ""


COMMAND = """
from xaipipe import hookimpl
@hookimpl
def xaipipe_commands(app):
    @app.command("act")
    def act():
        {}
"""


@pytest.fixture
def acting(cli: Cli, tmp_path: Path) -> Cli:
    """`xaipipe act`, a plugin's command that does what it is told."""

    def call(body: str, *options: str) -> Any:
        (tmp_path / "actor.py").write_text(COMMAND.format(body))
        return cli("--plugin", tmp_path / "actor.py", *options, "act")

    return call


def test_a_plugins_command_runs(acting: Cli) -> None:
    answer = acting("print('acted')")
    assert (answer.code, answer.out) == (0, "acted\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interruption_is_130(acting: Cli, as_json: bool) -> None:
    answer = acting("raise KeyboardInterrupt", *(["--json"] if as_json else []))
    assert answer.code == 130
    if as_json:
        assert json.loads(answer.out) == {"error": "interrupted", "exit_code": 130}
    else:
        assert "error: interrupted" in answer.err


def test_what_the_system_refuses_is_74(acting: Cli) -> None:
    answer = acting("open('/nowhere/at/all')")
    assert answer.code == 74
    assert answer.err == ("error: the system refused\n  got: No such file or directory\n  where: /nowhere/at/all\n")


def test_an_unexpected_error_keeps_its_traceback_and_ends_with_1(acting: Cli) -> None:
    answer = acting("{}['x']")
    assert answer.code == 1
    assert "Traceback" in answer.err
    assert "actor.py" in answer.err
    assert answer.err.endswith("error: unexpected KeyError: 'x'\n")


def test_an_unexpected_error_as_json_is_still_one_object(acting: Cli) -> None:
    answer = acting("{}['x']", "--json")
    assert json.loads(answer.out) == {"error": "unexpected KeyError: 'x'", "exit_code": 1}


def test_memory_that_ran_out_is_said_in_words(acting: Cli) -> None:
    answer = acting("[0] * (1 << 58)")
    assert answer.code == 65
    assert answer.err.startswith("error: there is not enough memory")
    assert "Traceback" not in answer.err


def test_a_plugin_whose_commands_fail_is_listed_and_the_rest_works(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("from xaipipe import hookimpl\n@hookimpl\ndef xaipipe_commands(app): 1 / 0\n")
    answer = cli("--plugin", tmp_path / "bad.py", "plugins")
    assert answer.code == 0
    assert "broken  ZeroDivisionError: division by zero (bad.py:3)" in answer.out


def test_brackets_are_printed_as_they_are(cli: Cli, install: Callable[..., None]) -> None:
    install("xp_bad", "raise ValueError('expected [N, C] or [/], not [bold]')")
    answer = cli("plugins")
    assert answer.code == 0
    assert "expected [N, C] or [/], not [bold]" in answer.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["plugins"], 0), (["methods", "gradcan"], 2), (["explain", "nowhere.png", "--model", "timm:x"], 65)],
)
def test_the_process_ends_with_the_exit_code(tmp_path: Path, arguments: list[str], code: int) -> None:
    done = subprocess.run([*SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr == "" if code == 0 else done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
