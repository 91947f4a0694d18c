"""docs/lrp.md is true: its blocks run, its tables list what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch

import xaipipe
from xaipipe.propagation.books import ABSORBERS
from xaipipe_demo.model import build
from xaipipe_propagation.conservation import BOUNDS, COARSE
from xaipipe_propagation.lrp import Lrp
from xaipipe_propagation.named import COMPOSITES, RULES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "lrp.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\S*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [body for found, body in BLOCKS if found == language]


@pytest.fixture(scope="module")
def names() -> dict[str, object]:
    """What the page's Python blocks define, one after the other."""
    scope: dict[str, object] = {}
    exec("\n".join(blocks("python")), scope)
    return scope


def test_every_block_is_of_a_kind_that_is_run_here() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "toml"}
    assert TEXT.count("```") == 2 * len(BLOCKS)


def test_python_blocks_run(names: dict[str, xaipipe.Explanation]) -> None:
    assert names["e"].values.shape == (1, 3, 256, 256)
    assert not names["mine"].values.equal(names["e"].values)
    assert names["at_layer"].grid.scale > (1, 1)


def test_the_table_of_settings_is_the_python_one(names: dict[str, object]) -> None:
    (block,) = blocks("toml")
    settings = tomllib.loads(block)["explain"]
    assert settings["composite"] == names["own"]
    assert Lrp.Params.parse({k: v for k, v in settings.items() if k != "method"}, "the page").target == "damaged"
    build_names = {name for name, _ in build().named_modules()}
    assert {"features.0", "features.2", "features.3", "features.6"} <= build_names


def rows(header: str) -> list[list[str]]:
    """The cells of the table under a header's first row."""
    table = TEXT[TEXT.index(header) :].split("\n\n")[0]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_rules_are_all_there_with_their_settings() -> None:
    listed = {row[0]: set(re.findall(r"\w+", row[-1])) for row in rows("| rule | R_i")}
    assert listed == {name: set(rule.takes) for name, rule in RULES.items()}


def test_composites_are_all_there() -> None:
    listed = {row[0]: tuple(row[1:]) for row in rows("| composite |")}
    assert listed == {name: (one.convolution, one.linear, one.first or "") for name, one in COMPOSITES.items()}


def test_diagnostics_are_all_there(names: dict[str, xaipipe.Explanation]) -> None:
    listed = {row[0] for row in rows("| | |\n")}
    found = {*names["e"].diagnostics, *names["through"].diagnostics} - {"score", "absorbed_by"}
    assert listed == found
    assert set(ABSORBERS[:2]) <= listed


def test_bounds_are_the_ones_stated() -> None:
    assert {torch.float64: 1e-8, torch.float32: 1e-3} == BOUNDS
    assert COARSE == 0.1
    assert "10⁻⁸ of all that was moved (in float32 10⁻³, in half precision a tenth)" in TEXT


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    assert all((ROOT / "docs" / link).exists() for link in links)
