"""What several tests start from: a tiny model, a photograph, a slide, plugins that come and go, the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import settings
from torch import nn

from xaipipe import Registry
from xaipipe.cli.main import main

settings.register_profile("shared-machine", deadline=None)  # the first example of a test pays for imports
settings.load_profile("shared-machine")

MODEL_FILE = """
from pathlib import Path
import torch
from torch import nn

PREPROCESS = {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}

def build():
    Path(__file__).with_name("was-run").touch()
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )
    net.labels = ["cat", "dog", "bird"]
    return net
"""


@pytest.fixture
def tiny() -> nn.Module:
    """Two strided convolutions, a global mean, three classes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry()


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A model as code; `was-run` appears beside it when its factory runs."""
    path = tmp_path / "model.py"
    path.write_text(MODEL_FILE)
    return path


@pytest.fixture(scope="session")
def rgb() -> np.ndarray:
    """A picture with structure at two scales, 80 × 112."""
    blocks = np.random.default_rng(0).integers(0, 255, (10, 14, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))


@pytest.fixture
def photograph(tmp_path: Path, rgb: np.ndarray) -> Path:
    path = tmp_path / "photograph.png"
    path.write_bytes(imagecodecs.png_encode(rgb))
    return path


@pytest.fixture
def slide_file(tmp_path: Path, rgb: np.ndarray) -> Path:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, np.tile(rgb, (2, 2, 1)), tile=(32, 32), photometric="rgb", compression="deflate")
    return path


@pytest.fixture
def run_file(tmp_path: Path, model_file: Path) -> Path:
    """The smallest configuration of a run."""
    path = tmp_path / "run.toml"
    path.write_text(
        f"""
[model]
source = "{model_file.name}:build"
[load]
tile = 32
[explain]
method = "gradcam"
target = 1
[store]
shard = 64
"""
    )
    return path


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Answer]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run `xaipipe …` in this process, in a folder of its own, with room for long lines."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a package with an entry point, for real: a module and its dist-info in a folder on `sys.path`."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    installed = []

    def put(name: str, source: str, entry: str | None = None) -> None:
        (site / f"{name}.py").write_text("from xaipipe import *\nfrom xaipipe import hookimpl\n" + source)
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[xaipipe]\n{entry or name} = {name}\n")
        installed.append(name)

    yield put
    for name in installed:
        sys.modules.pop(name, None)


@pytest.fixture(scope="session")
def data() -> Path:
    """Real slides, photographs and a real model, where there are any."""
    folder = Path(os.environ.get("XAIPIPE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: set XAIPIPE_DATA")
    return folder


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder with its bytes, to see that nothing changed."""

    def take(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return take
