"""Models that are missing, fail, or answer something else than scores: named, and nothing is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

NET = """
import torch
from torch import nn
PREPROCESS = {{"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1]}}
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
    def forward(self, x):
        maps = self.conv(x)
        scores = maps.mean(dim=(2, 3))
        {}
def build(): return Net()
"""


@pytest.mark.parametrize("command", ["explain", "run"])
@pytest.mark.parametrize("method", ["gradcam", "saliency"])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("return scores / 0", "the model returned NaN or infinity\n  got: image 0"),
        ("return maps[0]", "the model's output has the wrong shape\n  got: (4, "),
        ("return maps.flatten(2)", "the model's output has the wrong shape\n  got: (1, 4, "),
        ("return None", "the model's output has the wrong shape\n  got: NoneType"),
        ("return scores.argmax(1, keepdim=True)", "the model's output has no gradient\n  got: torch.int64"),
    ],
)
def test_an_answer_that_is_no_scores_is_65(
    cli: Cli, slide_file: Path, tmp_path: Path, command: str, method: str, answer: str, message: str
) -> None:
    (tmp_path / "m.py").write_text(NET.format(answer))
    (tmp_path / "run.toml").write_text(f'[model]\nsource = "m.py:build"\n[explain]\nmethod = "{method}"\n')
    output = "out.png" if command == "explain" else "out.zarr"
    done = cli(command, slide_file, "--config", "run.toml", "--trust", "-o", output)
    assert done.code == 65, done.err
    assert f"error: {message}" in done.err
    assert "where: m.py:build" in done.err
    assert not Path(output).exists()


@pytest.mark.parametrize("command", ["explain", "run"])
def test_an_answer_without_a_gradient_is_65(cli: Cli, slide_file: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "m.py").write_text(NET.format("return scores.detach()"))
    (tmp_path / "run.toml").write_text('[model]\nsource = "m.py:build"\n[explain]\nmethod = "saliency"\n')
    output = "out.png" if command == "explain" else "out.zarr"
    done = cli(command, slide_file, "--config", "run.toml", "--trust", "-o", output)
    assert done.code == 65, done.err
    assert "error: the model's output does not depend on the pixels by differentiable operators\n" in done.err
    assert not Path(output).exists()


@pytest.mark.parametrize("command", ["explain", "run"])
@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_of_several_outputs_one_has_to_be_named(
    cli: Cli, slide_file: Path, tmp_path: Path, command: str, method: str
) -> None:
    (tmp_path / "m.py").write_text(NET.format("return dict(logits=scores, maps=maps)"))
    (tmp_path / "run.toml").write_text(f'[model]\nsource = "m.py:build"\n[explain]\nmethod = "{method}"\n')
    output = "out.png" if command == "explain" else "out.zarr"
    call = [command, slide_file, "--config", "run.toml", "--trust", "-o", output]
    done = cli(*call)
    assert done.code == 2, done.err
    assert "error: the model returns several outputs\n  got: logits: (1, 4); maps: (1, 4, " in done.err
    assert 'next: choose one, such as output="logits"' in done.err
    assert not Path(output).exists()
    assert "did you mean 'logits'?" in cli(*call, "--set", "model.output=logit").err
    assert cli(*call, "--set", "model.output=logits").code == 0


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("nowhere.py:build", 2, "there is no such Python file\n  where: "),
        ("model.py:biuld", 2, "has no factory 'biuld'\n  next: did you mean 'build'?"),
        ("nowhere.safetensors", 2, "a file of weights needs its architecture"),
        ("resnet50", 2, "model source 'resnet50' is not one of those that are known\n  expected: timm:NAME"),
    ],
)
def test_a_model_that_is_not_there(
    cli: Cli, photograph: Path, model_file: Path, source: str, code: int, message: str
) -> None:
    done = cli("explain", photograph, "--model", source, "--trust")
    assert done.code == code
    assert message in done.err
    assert not Path("photograph-gradcam.png").exists()


def test_a_factory_that_fails_is_65(cli: Cli, photograph: Path, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("def build(): raise RuntimeError('no such checkpoint')")
    done = cli("explain", photograph, "--model", "m.py:build", "--trust")
    assert done.code == 65
    assert "error: the model's factory failed\n  got: RuntimeError: no such checkpoint\n  where: " in done.err


@pytest.mark.parametrize("command", ["explain", "run"])
def test_code_that_nobody_trusted_is_77_and_never_runs(
    cli: Cli, slide_file: Path, run_file: Path, command: str
) -> None:
    run_file.with_name("model.py").write_text("open('was-run', 'w').close()\ndef build(): ...\n")
    done = cli(command, slide_file, "--config", run_file, "-o", "out.png" if command == "explain" else "out.zarr")
    assert done.code == 77
    assert done.err == (
        "error: this model is code, and code runs only where you say so\n"
        "  where: model.py:build\n"
        "  next: read it, then add --trust (from Python: trust=True)\n"
    )
    assert not Path("was-run").exists()
    assert not Path("out.zarr").exists()
