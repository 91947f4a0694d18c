"""Composites of one's own: from Python, from a run's settings and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import zarr
from torch import Tensor, nn

import xaipipe
from tests.propagation_methods.networks import seeded
from xaipipe import UsageError
from xaipipe.params import rows, schema_of
from xaipipe.testing import SmallCnn, images
from xaipipe_propagation.lrp import Lrp


def chain() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(),
            nn.Conv2d(4, 5, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(180, 6),
            nn.ReLU(),
            nn.Linear(6, 3),
        )
    )


def lrp(composite: Any, net: nn.Module | None = None, **params: Any) -> Tensor:
    return xaipipe.explain(
        net or chain(), images(2, (8, 8)).double(), "lrp", target=1, composite=composite, **params
    ).values


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ({"base": "epsilon_gamma_box"}, "epsilon_gamma_box"),
        ({}, "epsilon_plus"),
        ({"base": "epsilon", "convolution": "z_plus"}, "epsilon_plus"),
        ({"base": "epsilon", "convolution": "z_plus", "first": "flat"}, "epsilon_plus_flat"),
        ({"linear": "z_plus"}, "excitation_backprop"),
        ({"base": "epsilon", "convolution": {"rule": "alpha_beta", "alpha": 2}}, "epsilon_alpha2_beta1"),
        ({"base": "epsilon", "layers": [{"pattern": "[02]", "rule": "z_plus"}]}, "epsilon_plus"),
        ({"layers": [{"pattern": "0", "rule": "flat"}, {"pattern": "*", "rule": "epsilon"}], "first": "gamma"}, None),
    ],
)
def test_a_table_gives_what_its_rules_are(own: dict[str, Any], named: str | None) -> None:
    # patterns come before places, and the first that matches counts
    want = lrp({"base": "epsilon", "first": "flat"} if named is None else named)
    assert lrp(own).equal(want)


def test_rules_have_settings_of_their_own() -> None:
    table = {"base": "epsilon", "convolution": {"rule": "gamma", "gamma": 0.7}, "first": {"rule": "gamma", "gamma": 0}}
    got = lrp({**table, "linear": {"rule": "epsilon", "epsilon": 0.01}})
    assert not got.equal(lrp(table))
    assert lrp(table).equal(lrp({**table, "convolution": "gamma"}, gamma=0.7))


def test_last_is_the_last_weighted_layer() -> None:
    assert lrp({"base": "epsilon", "last": "z_plus"}).equal(
        lrp({"base": "epsilon", "layers": [{"pattern": "7", "rule": "z_plus"}]})
    )


class Branches(nn.Module):
    """Two heads behind one trunk, summed; a convolution that only a gate reads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 4, 3)
        self.gate = nn.Conv2d(4, 4, 1)
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.trunk(x).relu()
        x = (x * self.gate(x).sigmoid()).mean((2, 3))
        answer: Tensor = self.left(x) + self.right(x)
        return answer


def test_every_branch_has_its_last_layer() -> None:
    net = seeded(Branches)
    ends = {"base": "epsilon", "layers": [{"pattern": name, "rule": "z_plus"} for name in ("left", "right")]}
    assert lrp({"base": "epsilon", "last": "z_plus"}, net).equal(lrp(ends, net))


def test_first_is_every_layer_that_sees_the_input() -> None:
    class TwoStems(Branches):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.left((self.trunk(x) + self.other(x.flip(3))).relu().mean((2, 3)))
            return answer

    net = seeded(TwoStems)
    stems = {"layers": [{"pattern": name, "rule": "flat"} for name in ("trunk", "other")]}
    assert lrp({"first": "flat"}, net).equal(lrp(stems, net))


def test_norms_may_pass_relevance_on() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.LayerNorm(4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.head(self.norm(self.stem(x).mean((2, 3))))
            return answer

    net, x = seeded(Normed), images(2, (8, 8)).double()
    before, after = (
        xaipipe.explain(net, x, "lrp", target=1, composite={"norm": "pass"}, layer=layer).values.sum((1, 2, 3))
        for layer in ("norm", "stem")
    )
    torch.testing.assert_close(before, after, rtol=1e-4, atol=0)  # but for the mean's stabiliser
    assert not lrp({"norm": "pass"}, net).equal(lrp({"norm": "norm"}, net))


@pytest.mark.parametrize(
    ("composite", "message"),
    [
        ("epsilon_pluss", r"unknown composite 'epsilon_pluss'[\s\S]*did you mean 'epsilon_plus'"),
        ({"base": "nothing"}, r"unknown composite 'nothing'[\s\S]*choose one of: epsilon, "),
        ({"linear": "epsilonn"}, r"unknown rule 'epsilonn'[\s\S]*did you mean 'epsilon'"),
        ({"linear": {"rule": "gama"}}, r"unknown rule 'gama'[\s\S]*did you mean 'gamma'"),
        ({"convolutions": "gamma"}, r"unknown parameter 'convolutions'[\s\S]*did you mean 'convolution'"),
        ({"layers": [{"pattern": "0", "rule": "x"}]}, r"unknown rule 'x'[\s\S]*z_plus"),
        ({"layers": [{"rule": "flat"}]}, r"'layers.0.pattern' is required"),
        (
            {"layers": [{"pattern": "layer9*", "rule": "flat"}]},
            r"no weighted layer is called 'layer9\*'[\s\S]*0, 2, 5, 7",
        ),
        ({"norm": "gamma"}, r"rule 'gamma' is for layers with weights[\s\S]*norm or pass"),
        ({"first": {"rule": "flat", "gamma": 1}}, r"rule 'flat' takes no gamma[\s\S]*nothing"),
        ({"linear": {"rule": "gamma", "gamma": -1}}, r"gamma[\s\S]*greater than or equal to 0"),
        ({"first": "pass"}, r"another shape[\s\S]*conv2d in layer '0'[\s\S]*'pass' only fits"),
        (3, r"a composite's name, or a table of rules"),
    ],
)
def test_tables_that_cannot_be_are_refused(composite: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lrp(composite)


OWN = """
[explain]
method = "lrp"
target = 1

[explain.composite]
base = "epsilon_plus"
last = "zero"
first = { rule = "gamma", gamma = 0.5 }

[[explain.composite.layers]]
pattern = "2"
rule = "epsilon"
epsilon = 0.001
"""


def test_from_a_runs_settings(cli: Any, run_file: Path, slide_file: Path, tmp_path: Path) -> None:
    plain = run_file.read_text()
    start, end = plain.index("[explain]"), plain.index("[store]")
    run_file.write_text(plain[:start] + OWN + plain[end:])
    answer = cli("run", slide_file, "--config", run_file, "-o", tmp_path / "own.zarr", "--trust")
    assert answer.code == 0, answer.err
    run_file.write_text(plain[:start] + OWN.replace("0.001", "10.0") + plain[end:])
    answer = cli("run", slide_file, "--config", run_file, "-o", tmp_path / "other.zarr", "--trust")
    assert answer.code == 0, answer.err
    own, other = (zarr.open_group(tmp_path / f"{name}.zarr", mode="r")["heatmap/0"][:] for name in ("own", "other"))
    assert own.any()
    assert (own != other).any()


def test_a_plain_name_does_on_the_command_line(cli: Any, photograph: Path, model_file: Path) -> None:
    for composite in ("epsilon", "epsilon_plus_flat"):
        answer = cli(
            *("explain", photograph, "--model", f"{model_file.name}:build", "--method", "lrp", "--target", 1),
            *("--composite", composite, "-o", f"{composite}.png", "--trust"),
        )
        assert answer.code == 0, answer.err
    assert Path("epsilon.png").read_bytes() != Path("epsilon_plus_flat.png").read_bytes()


def test_the_listing_shows_what_a_composite_may_be(cli: Any) -> None:
    answer = cli("methods", "lrp")
    (row,) = [line for line in answer.out.splitlines() if line.startswith("composite ")]
    assert "string | table" in row
    assert "epsilon_plus" in row
    assert {one.name for one in rows(Lrp.Params)} >= {"composite", "epsilon", "gamma", "alpha", "low", "high", "layer"}


def test_the_schema_of_a_composite_tells_its_fields() -> None:
    schema = schema_of(Lrp.Params)
    assert [choice.get("type", "table") for choice in schema["properties"]["composite"]["anyOf"]] == ["string", "table"]
    table = json.loads(json.dumps(schema))["$defs"]["CompositeTable"]["properties"]
    assert set(table) == {"base", "convolution", "linear", "norm", "first", "last", "layers"}
    assert all("description" in field for field in table.values())


def test_the_models_layers_are_named_as_they_ran() -> None:
    assert lrp({"layers": [{"pattern": "block", "rule": "gamma"}]}, SmallCnn().double()).isfinite().all()
