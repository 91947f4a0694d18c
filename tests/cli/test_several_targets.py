"""`xaipipe run --target a,b`: a result for each, and the commands that go on with all of them or with one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.conftest import Cli
from tests.store.runs import content
from xaipipe_store.ledger import ledger_path


@pytest.fixture
def result(cli: Cli, slide_file: Path, run_file: Path, tmp_path: Path) -> Path:
    """Of `dog` and of whatever is predicted, by names."""
    arguments = ("--config", run_file, "--trust", "--target", "truth=dog,predicted", "-o", "out.zarr")
    answer = cli("run", slide_file, *arguments)
    assert answer.code == 0, answer.err
    assert "truth = dog, predicted" in " ".join(answer.err.split())
    assert "out.zarr/truth.zarr" in answer.out.replace("\n", "")
    return tmp_path / "out.zarr"


def lose(result: Path) -> None:
    next(path for path in sorted(result.glob("heatmap/0/c/**/*")) if path.is_file()).unlink()


def test_a_result_each_is_verified_repaired_and_exported(cli: Cli, result: Path) -> None:
    before = content(result / "truth.zarr")
    assert "every file is as it was committed" in cli("verify", result).out
    lose(result / "truth.zarr")
    answer = cli("--json", "verify", result)
    assert answer.code == 65
    (damage,) = json.loads(answer.out)["damage"]
    assert damage["path"].startswith("truth.zarr/heatmap/0/c/")
    assert cli("verify", result, "--repair", "--trust").code == 0
    assert content(result / "truth.zarr") == before
    lose(result / "truth.zarr")
    assert cli("resume", result / "truth.zarr", "--trust").code == 0
    assert content(result / "truth.zarr") == before
    assert cli("export", result / "truth.zarr", "--to", "png", "-o", "truth.png").code == 0


def test_resume_goes_on_with_all(cli: Cli, result: Path) -> None:
    before = content(result / "predicted.zarr")
    shutil.rmtree(result / "predicted.zarr")
    ledger_path(result / "predicted.zarr").unlink()
    answer = cli("resume", result, "--trust")
    assert answer.code == 0, answer.err
    assert content(result / "predicted.zarr") == before


def test_results_of_several_runs_are_not_mixed(cli: Cli, result: Path, slide_file: Path, run_file: Path) -> None:
    assert cli("run", slide_file, "--config", run_file, "--trust", "--target", "cat,bird", "-o", result).code == 0
    answer = cli("resume", result, "--trust")
    assert answer.code == 2
    assert "not those of one run" in answer.err
    assert cli("verify", result).code == 0


def test_a_plan_and_a_summary_name_the_targets(cli: Cli, slide_file: Path, run_file: Path, tmp_path: Path) -> None:
    run_file.write_text(run_file.read_text().replace("target = 1", 'target = ["dog", 2]'))
    arguments = ("--json", "run", slide_file, "--config", run_file, "--trust")
    plan = json.loads(cli(*arguments, "--dry-run").out)
    assert plan["targets"] == {"dog": "dog", "2": 2}
    assert "targets" not in json.loads(cli(*arguments, "--dry-run", "--target", "dog").out)
    summary = json.loads(cli(*arguments, "-o", "out").out)
    assert summary["output"] == "out"
    assert {name: one["output"] for name, one in summary["targets"].items()} == {"dog": "out/dog", "2": "out/2"}
    one, other = (np.asarray(zarr.open_array(tmp_path / "out" / name / "heatmap" / "0")) for name in ("dog", "2"))
    assert not np.array_equal(one, other, equal_nan=True)


def test_explain_takes_the_list_of_a_file_too(cli: Cli, photograph: Path, run_file: Path) -> None:
    run_file.write_text(run_file.read_text().replace("target = 1", 'target = { truth = "dog", said = "predicted" }'))
    answer = cli("--json", "explain", photograph, "--config", run_file, "--trust", "-o", "out.npz")
    assert answer.code == 0, answer.err
    assert [one["caption"].partition(":")[0] for one in json.loads(answer.out)["maps"]] == ["truth", "said"]


@pytest.mark.parametrize(
    ("target", "message"),
    [("dog,dog", "a target is asked twice"), ("dog,", "a target is missing"), ("dog,cow", "unknown target 'cow'")],
)
def test_targets_that_cannot_be_are_refused(
    cli: Cli, slide_file: Path, run_file: Path, tmp_path: Path, target: str, message: str
) -> None:
    answer = cli("run", slide_file, "--config", run_file, "--trust", "--target", target, "-o", "out.zarr")
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "out.zarr").exists()
