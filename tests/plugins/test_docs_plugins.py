"""docs/plugins.md is true: its files work, its commands run, its hooks and suites are the ones there are."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import xaipipe.testing
from xaipipe import Model, Registry, hookspecs
from xaipipe.api import explain_each_with, explain_with
from xaipipe.cli.main import main
from xaipipe.models.targets import Question
from xaipipe.propagation import Gradient, RuleTable, Weighted, pull_back
from xaipipe.propagation.operation import Kind
from xaipipe.propagation.operators import OPERATORS
from xaipipe.running.local import LocalExecutor
from xaipipe.stages import KINDS
from xaipipe.testing import SmallCnn, images, random_map

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\S*) ?(\S*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
FILES = {note.removeprefix("file="): body for _, note, body in BLOCKS if note.startswith("file=")}
HOOKS = [body for _, note, body in BLOCKS if note == "hook"]
COMMANDS = [line for language, _, body in BLOCKS if language == "sh" for line in body.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader of the page has written down its files."""
    for name, body in FILES.items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_no_block_opts_out() -> None:
    kinds = [(language, note.partition("=")[0]) for language, note, _ in BLOCKS]
    assert set(kinds) == {("python", "file"), ("toml", "file"), ("python", "hook"), ("sh", "")}
    assert TEXT.count("```") == 2 * len(BLOCKS)


def signature(node: ast.FunctionDef) -> str:
    return f"{node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns) if node.returns else ''}"


def functions(source: str) -> list[ast.FunctionDef]:
    return [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


def test_hooks_are_those_of_the_specification() -> None:
    specified = [signature(node) for node in functions(inspect.getsource(hookspecs))]
    assert [signature(node) for block in HOOKS for node in functions(block)] == specified
    assert len(specified) >= 8


@pytest.mark.parametrize("name", [name for name in FILES if "hookimpl" in FILES[name]])
def test_plugin_files_load(name: str, folder: Path) -> None:
    registry = Registry(files=[name])
    assert (Path(name).stem, "loaded") in [(plugin.name, plugin.state) for plugin in registry.plugins]


def test_methods_do_what_they_say(folder: Path) -> None:
    registry = Registry(files=["magnitude.py", "gain.py"])
    explanation = random_map()
    magnitude = registry.method("postprocess", "magnitude")().apply(explanation)
    assert magnitude.values.equal(explanation.values.abs())
    gain = registry.method("postprocess", "gain")(by=2.0).apply(explanation)
    assert gain.values.equal(2 * explanation.values)


def test_the_backward_method_is_what_it_says(folder: Path) -> None:
    registry = Registry(files=["positive_gradient.py"])
    model, x = SmallCnn().eval(), images(2)
    got = explain_with(registry, model, x, "positive_gradient", target=1)
    plain = explain_with(registry, model, x, "saliency", target=1)
    assert got.values.shape == plain.values.shape
    assert not torch.equal(got.values, plain.values)
    several = explain_each_with(registry, model, x, "positive_gradient", [0, 1])
    torch.testing.assert_close(several[1].values, got.values)


def test_the_backward_method_passes_the_contract(folder: Path) -> None:
    test = "from positive_gradient import PositiveGradient\nfrom xaipipe.testing import ExplainerContract\n\n\n"
    test += "class TestPositiveGradient(ExplainerContract):\n    method = PositiveGradient\n"
    (folder / "test_positive_gradient.py").write_text(test, encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_positive_gradient.py"], capture_output=True, text=True, cwd=folder
    )
    assert process.returncode == 0, process.stdout


def test_the_operator_is_made_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPERATORS, "_table", dict(OPERATORS._table))
    names: dict[str, Any] = {}
    exec(compile(FILES["swish.py"], "swish.py", "exec"), names)

    class Swishes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return names["swish"](x * 2).mean(dim=(2, 3))  # type: ignore[no-any-return]

    x, table = images(2), RuleTable({"activation": Gradient()}, strict=True)
    (got,) = pull_back(Model.of(Swishes()), x, [Question(0)], table)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(torch.nn.functional.silu(leaf * 2).mean(dim=(2, 3))[:, 0].sum(), leaf)
    torch.testing.assert_close(got.values, expected)


def test_operations_have_what_is_listed() -> None:
    text = TEXT.partition("| of an operation | what |")[2].partition("\n\n")[0]
    members = re.findall(r"`(\w+)[^`]*`(?=[^|]*\|[^|]*\|$)", text, re.MULTILINE)
    assert {"kind", "layer", "gradient", "pullback", "pull", "nonnegative"} <= set(members)
    assert all(hasattr(Weighted, member) for member in members)
    kinds = re.search(r"The kinds are (.*?)\. `gradient_with`", TEXT, re.DOTALL)
    assert kinds is not None
    assert tuple(re.findall(r"`(\w+)`", kinds.group(1))) == get_args(Kind)


def test_wrapper_names_slow_stages_only(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(files=["magnitude.py", "slow_stages.py"])
    registry.hooks.register(LocalExecutor(), name="local")
    stage = registry.method("postprocess", "magnitude")()
    run_stage = registry.hooks.hook.run_stage
    assert run_stage(stage=stage, item=random_map(), run=None).values.min() >= 0
    assert capsys.readouterr().err == ""
    clock = iter([0.0, 2.5])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    run_stage(stage=stage, item=random_map(), run=None)
    assert capsys.readouterr().err == "magnitude took 2.5 s\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = shlex.split(command)
    if program == "python":
        process = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=folder)
        assert process.returncode == 0, process.stdout
        assert " passed" in process.stdout
    else:
        assert program == "xaipipe"
        assert main(arguments) == 0
        assert "magnitude" in capsys.readouterr().out


def test_stage_kinds_are_all_there() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `\[+(\w+)\]+` \| `(\w+)\(([^)]*)\)`", TEXT, re.MULTILINE)
    assert {base: kind for base, kind, _, _ in rows} == {stage.__name__: kind for kind, stage in KINDS.items()}
    for _, kind, function, arguments in rows:
        parameters = list(inspect.signature(getattr(KINDS[kind], function)).parameters)
        assert parameters == ["self", *arguments.split(", ")]


def test_suites_are_all_there() -> None:
    rows = re.findall(r"^\| `(\w+Contract)` \| ([^|]*)\|([^|]*)\|$", TEXT, re.MULTILINE)
    shipped = {name for name in xaipipe.testing.__all__ if name.endswith("Contract")} - {"StageContract"}
    assert {suite for suite, _, _ in rows} == shipped
    for suite, required, declared in rows:
        for name in re.findall(r"`(\w+)", required + declared):
            contract = getattr(xaipipe.testing, suite)
            assert hasattr(contract, name) or any(name in vars(base)["__annotations__"] for base in annotated(contract))


def annotated(contract: type) -> list[type]:
    return [base for base in contract.__mro__ if "__annotations__" in vars(base)]


def test_entry_point_is_in_the_group_that_is_searched() -> None:
    ours = tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"]
    example = tomllib.loads((ROOT / "plugins" / "example" / "pyproject.toml").read_text())["project"]["entry-points"]
    assert set(ours) == set(example) == {"xaipipe"}
    assert f"{ours['xaipipe']['magnitude']}.py" in FILES


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    assert all((ROOT / "docs" / link).exists() for link in links)
