"""`xaipipe resume` and `xaipipe verify`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.conftest import Cli
from tests.plugins.zarrs import write_zarr
from tests.store.runs import content
from xaipipe_store.ledger import Ledger, ledger_path


@pytest.fixture
def result(cli: Cli, slide_file: Path, run_file: Path, tmp_path: Path) -> Path:
    assert cli("run", slide_file, "--config", run_file, "--trust", "-o", "out.zarr").code == 0
    return tmp_path / "out.zarr"


def damage(result: Path) -> list[Path]:
    """A shard with a flipped bit, a lost shard, a file of metadata with another name in it."""
    flipped, lost = (result / "heatmap" / "0" / "c" / "0" / "0" / column for column in "01")
    data = bytearray(flipped.read_bytes())
    data[0] ^= 1
    flipped.write_bytes(data)
    lost.unlink()
    metadata = result / "heatmap" / "zarr.json"
    metadata.write_text(metadata.read_text().replace("heatmap", "hotmap"))
    return [flipped, lost, metadata]


def test_a_whole_result_verifies(cli: Cli, result: Path) -> None:
    answer = cli("verify", result)
    assert (answer.code, "every file is as it was committed" in answer.out) == (0, True)


def test_verify_names_every_damage_and_ends_with_65(cli: Cli, result: Path) -> None:
    damaged = damage(result)
    answer = cli("verify", result)
    assert answer.code == 65
    for path in damaged:
        assert str(path.relative_to(result)) in answer.out
    reported = json.loads(cli("--json", "verify", result).out)["damage"]
    assert len(reported) == 3


def test_repair_puts_everything_back(cli: Cli, result: Path) -> None:
    before = content(result)
    damage(result)
    answer = cli("verify", result, "--repair", "--trust")
    assert answer.code == 0
    assert "computed again: heatmap, region (0, 0)" in answer.err
    assert content(result) == before
    assert cli("verify", result).code == 0


def test_resume_computes_what_the_ledger_lacks(cli: Cli, result: Path) -> None:
    before = content(result)
    ledger = Ledger(ledger_path(result))
    ledger._run("DELETE FROM shard WHERE rowid = (SELECT min(rowid) FROM shard)")
    ledger.close()
    answer = cli("resume", result, "--trust")
    assert answer.code == 0
    assert "computed for the first time: 1 shards" in answer.err
    assert content(result) == before


def test_code_is_not_run_without_trust(cli: Cli, result: Path, tmp_path: Path) -> None:
    (tmp_path / "was-run").unlink()
    assert cli("resume", result).code == 77
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("command", ["resume", "verify"])
def test_what_is_no_result_is_said(cli: Cli, command: str) -> None:
    answer = cli(command, "nothing.zarr")
    assert answer.code == 2
    assert "there is no run to go on with" in answer.err


def test_weights_that_changed_are_refused(cli: Cli, result: Path, model_file: Path) -> None:
    model_file.write_text(model_file.read_text().replace("manual_seed(0)", "manual_seed(1)"))
    answer = cli("resume", result, "--trust")
    assert answer.code == 2
    assert "model.sha256 was" in answer.err


def test_a_run_on_a_url_is_resumed(cli: Cli, run_file: Path, rgb: np.ndarray, tmp_path: Path) -> None:
    write_zarr(tmp_path / "slide.zarr", np.tile(rgb, (2, 2, 1)))
    url = f"file://{tmp_path}/slide.zarr"
    assert cli("run", url, "--config", run_file, "--trust", "-o", "out.zarr").code == 0
    before = content(tmp_path / "out.zarr")
    damage(tmp_path / "out.zarr")
    answer = cli("resume", "out.zarr", "--trust")
    assert answer.code == 0, answer.err
    assert "slide    slide.zarr, level 0 at 0.5 µm per pixel" in answer.err
    assert content(tmp_path / "out.zarr") == before


def test_a_copied_slide_opens_as_a_slide(cli: Cli, slide_file: Path, run_file: Path) -> None:
    """What a run wrote is what another explains: the first image of the collection."""
    copy = ("--set", "store.image=copy", "--mpp", "0.5")
    assert cli("run", slide_file, "--config", run_file, "--trust", "-o", "first.zarr", *copy).code == 0
    answer = cli("run", "first.zarr", "--config", run_file, "--trust", "-o", "second.zarr")
    assert answer.code == 0, answer.err
    assert "slide    first.zarr, level 0 at 0.5 µm per pixel, 160 × 224 px" in answer.err
    maps = [np.asarray(zarr.open_array(f"{name}.zarr/heatmap/0")) for name in ("first", "second")]
    np.testing.assert_array_equal(*maps)


def test_a_result_without_its_slide_is_no_slide(cli: Cli, result: Path, run_file: Path) -> None:
    answer = cli("run", result, "--config", run_file, "--trust", "-o", "second.zarr")
    assert answer.code == 65
    assert "the array is not a picture\n  got: float32" in answer.err
    assert 'next: a result holds its slide where it was made with [store] image = "copy"' in answer.err
