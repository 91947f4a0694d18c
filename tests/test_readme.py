"""Every block of the README runs, and no block escapes by its language."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import imagecodecs
import pytest

from xaipipe import Pipeline, Registry
from xaipipe.cli.main import main
from xaipipe.config import read_toml
from xaipipe_demo.scene import Scene
from xaipipe_demo.tiff import write_slide

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```([^\n]*)\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for text in blocks("bash") for line in text.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def slide(here: Path) -> Path:
    return write_slide(Scene(seed=0, height=1200, width=1200), here / "slide.svs")


def test_every_block_is_of_a_kind_that_is_run_here() -> None:
    assert {language for language, _ in BLOCKS} == {"bash", "python", "python plugin", "toml"}
    kinds = (
        "make ",
        "pip install",
        "xaipipe doctor",
        "xaipipe run",
        "xaipipe resume",
        "xaipipe verify",
        "xaipipe export",
        "xaipipe explain",
        "xaipipe methods",
        "xaipipe layers",
        "xaipipe --plugin",
    )
    assert all(command.startswith(kinds) for command in commands())


def test_the_python_example_draws_its_picture(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert (here / "heat.png").stat().st_size > 1000
    assert "torch.Size([1, 1, 64, 64])" in capsys.readouterr().out


def test_the_toml_example_runs(here: Path, slide: Path) -> None:
    (example,) = blocks("toml")
    (here / "run.toml").write_text(example, encoding="utf-8")
    for command in commands():
        if command.startswith("xaipipe run"):
            assert main(command.split()[1:]) == 0
    assert (here / "slide.zarr" / "instances.csv").is_file()
    for command in commands():
        if command.startswith(("xaipipe resume", "xaipipe verify", "xaipipe export")):
            assert main(command.split()[1:]) == 0
    assert (here / "slide-qupath" / "objects.geojson").is_file()
    assert (here / "slide-heat.png").is_file()


def test_the_plugin_runs(here: Path) -> None:
    (plugin,) = blocks("python plugin")
    (here / "gradient_power.py").write_text(plugin, encoding="utf-8")
    (command,) = [command for command in commands() if "--plugin" in command]
    assert main(command.split()[1:]) == 0
    assert len([line for line in plugin.splitlines() if line.strip()]) <= 24


def test_the_plugin_explains_a_slide(here: Path, slide: Path) -> None:
    (plugin,), (toml,) = blocks("python plugin"), blocks("toml")
    (here / "gradient_power.py").write_text(plugin, encoding="utf-8")
    (here / "run.toml").write_text(toml, encoding="utf-8")
    tables = read_toml(here / "run.toml")
    tables |= {"explain": {"method": "gradient_power", "power": 2.0, "target": 1}, "segment": []}
    summary = Pipeline(tables, registry=Registry(files=["gradient_power.py"]), trust=True).run(slide, "power.zarr")
    assert summary.tiles > 0


def test_the_other_commands_run(here: Path) -> None:
    for command in commands():
        if command.startswith(("xaipipe doctor", "xaipipe methods", "xaipipe layers")):
            assert main(command.split()[1:]) == 0
        if command.startswith("xaipipe explain"):
            rgb = Scene(seed=0, height=4096, width=4096).rgb(2048, 1536, 96, 96)
            (here / "patch.png").write_bytes(imagecodecs.png_encode(rgb))
            assert main(command.split()[1:]) == 0
            assert (here / command.split()[-1]).is_file()


def test_the_make_targets_exist() -> None:
    for command in commands():
        if command.startswith("make "):
            env = {**os.environ, "MAKEFLAGS": ""}
            subprocess.run(["make", "-n", command.split()[1]], cwd=ROOT, env=env, check=True, capture_output=True)


def test_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / target).exists(), target
