"""`methods`, `plugins` and `doctor`: what there is, for people and for machines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xaipipe import Registry
from xaipipe.params import rows

Cli = Callable[..., Any]


def test_methods_lists_every_method_with_its_stage_and_plugin(cli: Cli, registry: Registry) -> None:
    lines = [line.split()[:3] for line in cli("methods").out.splitlines()]
    for method, plugin in registry.methods():
        assert [method.kind, method.name, plugin] in lines


def test_methods_as_json_says_the_same(cli: Cli, registry: Registry) -> None:
    listed = json.loads(cli("--json", "methods").out)["methods"]
    assert [(m["stage"], m["method"], m["plugin"]) for m in listed] == [
        (method.kind, method.name, plugin) for method, plugin in registry.methods()
    ]


@pytest.mark.parametrize("name", Registry().names())
def test_a_method_is_shown_with_every_parameter(cli: Cli, registry: Registry, name: str) -> None:
    answer = cli("methods", name)
    assert answer.code == 0
    for method, _ in registry.methods():
        if method.name == name:
            for row in rows(method.Params):
                assert row.name in answer.out
                assert row.description, f"parameter {row.name} is not described"
                assert row.description.split()[0] in answer.out


def test_a_method_as_json_brings_its_schema(cli: Cli) -> None:
    facts = json.loads(cli("--json", "methods", "smooth").out)
    assert facts["method"] == "smooth"
    assert facts["schema"]["properties"]["sigma"]["exclusiveMinimum"] == 0


def test_a_parameter_that_only_python_can_give_is_shown(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from xaipipe import Params, Postprocessor, hookimpl\nfrom torch import Tensor\n"
        "class With(Postprocessor):\n    name = 'with'\n    class Params(Params):\n        like: Tensor | None = None\n"
        "    def apply(self, e): return e\n"
        "@hookimpl\ndef xaipipe_methods(): return [With]\n"
    )
    assert cli("--plugin", tmp_path / "mine.py", "methods", "with").code == 0
    assert cli("--plugin", tmp_path / "mine.py", "--json", "methods", "with").code == 0


def test_a_misspelt_method_is_suggested(cli: Cli) -> None:
    answer = cli("methods", "gradcan")
    assert (answer.code, answer.err) == (
        2,
        "error: there is no method 'gradcan'\n  next: did you mean 'gradcam'?\n",
    )


def test_plugins_shows_loaded_blocked_and_broken(cli: Cli, install: Callable[..., None]) -> None:
    install("xp_bad", "import no_such_module")
    lines = {line.split()[0]: " ".join(line.split()) for line in cli("-p", "no:cam", "plugins").out.splitlines()}
    assert lines["readers"].endswith("loaded")
    assert lines["cam"].endswith("blocked")
    assert lines["xp_bad"] == (
        "xp_bad xp_bad 1.0 broken ModuleNotFoundError: No module named 'no_such_module' (xp_bad.py:3)"
    )


def test_plugins_as_json_says_the_same(cli: Cli, install: Callable[..., None]) -> None:
    install("xp_bad", "import no_such_module")
    listed = {plugin["name"]: plugin for plugin in json.loads(cli("--json", "plugins").out)["plugins"]}
    assert listed["xp_bad"]["state"] == "broken"
    assert listed["cam"]["state"] == "loaded"


def test_doctor_names_versions_kernels_gpu_and_plugins(cli: Cli) -> None:
    facts = json.loads(cli("--json", "doctor").out)
    assert set(facts) >= {"python", "packages", "kernels", "gpu", "plugins"}
    assert facts["packages"]["torch"] in cli("doctor").out
    assert facts["plugins"]["cam"] == "loaded"


def test_doctor_says_why_a_plugin_is_broken(cli: Cli, install: Callable[..., None]) -> None:
    install("xp_bad", "1 / 0")
    assert "xp_bad: broken ZeroDivisionError: division by zero (xp_bad.py:3)" in cli("doctor").out
