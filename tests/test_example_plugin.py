"""The example plugin, installed for real into an environment of its own, found, run, tested and removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[1] / "plugins" / "example"
MODEL = """
from torch import nn

PREPROCESS = {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
"""
pytestmark = pytest.mark.install


@dataclass(frozen=True)
class Environment:
    """A scratch environment that sees what is installed here, xaipipe included, and adds to it."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    def run(self, *arguments: str) -> str:
        process = subprocess.run(
            [str(self.python), *arguments], cwd=self.folder, capture_output=True, text=True, env=self._variables()
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    def xaipipe(self, *arguments: str) -> str:
        return self.run("-c", "from xaipipe.cli.main import run_as_script; run_as_script()", *arguments)

    def pip(self, *arguments: str) -> str:
        return self.run("-m", "pip", "--disable-pip-version-check", *arguments)

    def _variables(self) -> dict[str, str]:
        return {**os.environ, "PIP_NO_INDEX": "1", "COLUMNS": "200", "PYTHONPATH": ""}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("scratch")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    (site_packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    outer = sysconfig.get_paths()["purelib"]
    # addsitedir and not a bare path: the .pth files there make editable installs work
    (site_packages / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n")
    shutil.copytree(EXAMPLE, folder / "example", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    (folder / "model.py").write_text(MODEL)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    (folder / "photo.png").write_bytes(imagecodecs.png_encode(pixels))
    environment = Environment(folder)
    environment.pip("install", "--no-build-isolation", "--no-deps", "./example")
    return environment


def test_environment_is_another_one(environment: Environment) -> None:
    prefix = environment.run("-c", "import sys; print(sys.prefix)").strip()
    assert Path(prefix) == environment.folder / "venv"
    assert prefix != sys.prefix


def test_method_is_listed_with_its_documentation(environment: Environment) -> None:
    assert "gradient_norm" in environment.xaipipe("methods")
    assert "Misleads when" in environment.xaipipe("methods", "gradient_norm")


def test_plugin_is_listed_as_loaded(environment: Environment) -> None:
    (line,) = (line for line in environment.xaipipe("plugins").splitlines() if line.startswith("gradient-norm"))
    assert "xaipipe-gradient-norm 0.1.0" in line
    assert "loaded" in line


def test_method_explains_a_photograph(environment: Environment) -> None:
    command = ("explain", "photo.png", "--model", "model.py:build", "--trust", "--method", "gradient_norm")
    environment.xaipipe(*command, "-o", "out.png", "--set", "preprocess.size=24", *preprocess_settings())
    picture = imagecodecs.png_decode((environment.folder / "out.png").read_bytes())
    assert picture.shape == (24, 24, 3)


def test_own_tests_pass(environment: Environment) -> None:
    report = environment.run("-m", "pytest", "-q", "example")
    assert " passed" in report
    assert "failed" not in report


def test_after_uninstalling_it_is_gone(environment: Environment) -> None:
    environment.pip("uninstall", "--yes", "xaipipe-gradient-norm")
    assert "gradient_norm" not in environment.xaipipe("methods")
    assert "gradient-norm" not in environment.xaipipe("plugins")


def preprocess_settings() -> tuple[str, ...]:
    return ("--set", "preprocess.mean=[0.5, 0.5, 0.5]", "--set", "preprocess.std=[0.2, 0.2, 0.2]")
