"""What `pip install .` brings: the framework, the first-party plugins, their weights and the kernels."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(folder.name for folder in (ROOT / "plugins").glob("xaipipe_*"))
CHECK = """
import sys
from importlib.metadata import entry_points
import xaipipe
from xaipipe.ops._library import kernels
assert xaipipe.__file__.startswith(sys.argv[1]), xaipipe.__file__
print(kernels().build_info()["version"], *sorted(e.value for e in entry_points(group="xaipipe")))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "-q", "-C", f"build-dir={folder}/build", "-w", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-C", "cmake.define.XAIPIPE_CUDA=OFF", str(ROOT)]
    subprocess.run(command, check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.install
def test_the_wheel_carries_everything_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"xaipipe", *PLUGINS}
    assert "xaipipe_demo/weights.safetensors" in names
    assert "xaipipe/py.typed" in names
    assert any(name.startswith("xaipipe/_kernels.") for name in names)


@pytest.mark.install
def test_what_was_unpacked_imports_with_its_kernels_and_plugins(wheel: Path, tmp_path: Path) -> None:
    """Before the development install on the path, with its finder left out."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    finder = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'ScikitBuild' not in type(f).__name__]\n"
    path = f"sys.path.insert(0, {str(tmp_path)!r})\n"
    script = [sys.executable, "-c", finder + path + CHECK, str(tmp_path)]
    done = subprocess.run(script, check=True, capture_output=True, text=True, cwd=tmp_path)
    version, *plugins = done.stdout.split()
    assert version == "0.1.0"
    assert set(plugins) == set(PLUGINS)
