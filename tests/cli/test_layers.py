"""`xaipipe layers`: what can be explained of a model, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xaipipe.cli.layers import _laid_out

Cli = Callable[..., Any]
NET = """
PREPROCESS = {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
def build():
    from xaipipe.testing import SmallCnn
    return SmallCnn()
def vit():
    from xaipipe.testing import SmallVit
    return SmallVit(registers=2)
def hidden():
    import torch
    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), Sorted())
        def forward(self, x):
            return self.maps(x).mean((2, 3))
    class Sorted(torch.nn.Module):
        def forward(self, x):
            return x.sort(-1).values
    return Hidden()
def flat():
    import torch
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def table(answer: Any) -> dict[str, list[str]]:
    """The rows of a table by the layers' names; columns are two blanks apart."""
    assert answer.code == 0, answer.err
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in answer.out.splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_layers_that_all_goes_through_are_listed_with_their_places(cli: Cli, net: Path) -> None:
    listed = table(cli("layers", f"{net}:build", "--trust"))
    assert listed["layer"] == ["kind", "maps", "stride", "offset", "sees"]
    assert listed["stem"] == ["Conv2d", "8 × 16 × 16", "2", "0", "3"]
    assert listed["relu"] == ["ReLU", "8 × 16 × 16", "2", "0", "7", "auto"]
    assert "block" not in listed
    assert "head" not in listed


def test_outputs_that_are_no_maps_are_shown_beside_them(cli: Cli, net: Path) -> None:
    listed = table(cli("layers", f"{net}:vit", "--trust"))
    assert listed["layer"] == ["kind", "maps", "output", "stride", "offset", "sees"]
    assert listed["blocks.0"][:3] == ["_Block", "12 × 4 × 4", "19 × 12"]


def test_long_names_stay_whole_on_a_narrow_terminal() -> None:
    rows = [["layer", "kind", "maps"], ["features.3.block.0.conv", "Conv2d", "8 × 7 × 7"]]
    assert _laid_out(rows, 80) == [
        "layer                    kind    maps",
        "features.3.block.0.conv  Conv2d  8 × 7 × 7",
    ]
    assert _laid_out(rows, 30) == ["layer", "    kind    maps", "features.3.block.0.conv", "    Conv2d  8 × 7 × 7"]
    assert _laid_out(rows, None) == _laid_out(rows, 80), "what is piped is not cut"


def test_lines_that_go_to_a_file_are_not_wrapped(cli: Cli, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert table(cli("layers", f"{net}:build", "--trust"))["relu"][-1] == "auto"


def test_branches_too_on_request(cli: Cli, net: Path) -> None:
    assert table(cli("layers", f"{net}:build", "--trust", "--all"))["block"][-3:] == ["2", "0", "7"]


def test_machines_get_the_same(cli: Cli, net: Path) -> None:
    answer = cli("--json", "layers", f"{net}:vit", "--trust")
    facts = json.loads(answer.out)
    assert facts["input"] == [3, 32, 32]
    layers = {one["layer"]: one for one in facts["layers"]}
    assert [one["layer"] for one in facts["layers"] if one["auto"]] == ["blocks.1.norm1"]
    assert layers["blocks.0"] == {
        "layer": "blocks.0",
        "kind": "_Block",
        "output": [1, 19, 12],
        "layout": "[N, T, C]",
        "channels": 12,
        "cells": [4, 4],
        "stride": [8, 8],
        "offset": [3.5, 3.5],
        "receptive_field": [8, 8],
        "sees_more": True,
        "grid": "derived from the network's operators",
        "alone": True,
        "auto": False,
    }


def test_what_attention_shows_of_the_rest_is_marked_and_explained(cli: Cli, net: Path) -> None:
    answer = cli("layers", f"{net}:vit", "--trust")
    assert table(answer)["blocks.1"][-1] == "8+"
    assert "+: and what attention, gates or norms show it of the rest" in answer.out
    assert "attention" not in cli("layers", f"{net}:build", "--trust").out


def test_a_place_that_cannot_be_derived_is_admitted(cli: Cli, net: Path) -> None:
    answer = cli("layers", f"{net}:hidden", "--trust", "--all")
    assert table(answer)["maps.0"][-2:] == ["3", "auto"]
    assert "maps" not in table(answer)


def test_the_size_of_the_input_can_be_chosen(cli: Cli, net: Path) -> None:
    answer = cli("--json", "layers", f"{net}:build", "--trust", "--size", "50")
    assert json.loads(answer.out)["layers"][0]["cells"] == [25, 25]


def test_the_model_may_come_from_a_file(cli: Cli, net: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f'[model]\nsource = "{net.name}:build"\n[explain]\nmethod = "saliency"\n')
    assert "relu" in table(cli("layers", "--config", "run.toml", "--trust"))
    assert "relu" in table(cli("layers", "--set", f"model.source={net}:build", "--trust"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no model is given\n  expected: xaipipe layers MODEL, or a [model] table"),
        (["{net}:build"], 77, "is code"),
        (["{net}:flat", "--trust"], 2, "no layer of the model puts out maps [N, C, h, w] or tokens"),
        (["{net}:build", "--trust", "--size", "0"], 2, "--size"),
        (["{net}:build", "--trust", "--model-output", "logits"], 2, "there is none to choose"),
        (["{net}:buidl", "--trust"], 2, "buidl"),
    ],
)
def test_what_is_off_is_said(cli: Cli, net: Path, arguments: list[str], code: int, message: str) -> None:
    answer = cli("layers", *(argument.format(net=net) for argument in arguments))
    assert answer.code == code
    assert message in answer.err
