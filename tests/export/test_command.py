"""`xaipipe export`: what it refuses, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Cli
from tests.export.results import discs, finished
from tests.store.power import recording
from xaipipe_export.targets.qupath import QuPath

HEAT = np.linspace(0, 1, 10 * 10, dtype=np.float32).reshape(1, 10, 10)
Snapshot = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    return finished(tmp_path / "r.zarr", discs(40, 40, 3), HEAT)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


TARGETS = {"qupath": "out", "png": "out.png", "ome-zarr-0.4": "out.zarr"}


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_writes_one_thing_and_reads_the_result_only(
    cli: Cli, result: Path, tmp_path: Path, snapshot: Snapshot, target: str
) -> None:
    before = snapshot(tmp_path)
    answer = cli("export", result, "--to", target, "-o", TARGETS[target])
    assert answer.code == 0, answer.err
    after = snapshot(tmp_path)
    assert {name: data for name, data in after.items() if name in before} == before
    assert {Path(name).parts[0] for name in after.keys() - before.keys()} == {TARGETS[target]}


@pytest.mark.parametrize("target", TARGETS)
def test_ours_is_replaced_when_asked(cli: Cli, result: Path, target: str) -> None:
    arguments = ("export", result, "--to", target, "-o", TARGETS[target])
    assert cli(*arguments).code == 0
    again = cli(*arguments)
    assert (again.code, "the output exists already" in again.err) == (2, True)
    assert cli(*arguments, "--overwrite").code == 0


@pytest.mark.parametrize("target", TARGETS)
def test_somebody_elses_is_not(cli: Cli, result: Path, tmp_path: Path, snapshot: Snapshot, target: str) -> None:
    output = tmp_path / TARGETS[target]
    if target == "png":
        output.write_bytes(b"a picture")
    else:
        output.mkdir()
        (output / "thesis.txt").write_text("ten years")
    before = snapshot(tmp_path)
    answer = cli("export", result, "--to", target, "-o", output, "--overwrite")
    assert (answer.code, "was not made by xaipipe" in answer.err) == (2, True)
    assert snapshot(tmp_path) == before


def test_what_was_put_into_ours_is_not_lost(cli: Cli, result: Path, tmp_path: Path) -> None:
    assert cli("export", result, "--to", "qupath", "-o", "out").code == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert cli("export", result, "--to", "qupath", "-o", "out", "--overwrite").code == 2
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_an_export_that_fails_leaves_what_was_there(
    cli: Cli, result: Path, tmp_path: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("export", result, "--to", "qupath", "-o", "out").code == 0
    before = snapshot(tmp_path)

    def fails(exporter: QuPath, result: Any, place: Path) -> None:
        (place / "half").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(QuPath, "write", fails)
    answer = cli("export", result, "--to", "qupath", "-o", "out", "--overwrite")
    assert (answer.code, "No space left" in answer.err) == (74, True)
    assert snapshot(tmp_path) == before
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("target", TARGETS)
def test_a_damaged_shard_is_an_error_in_words(cli: Cli, result: Path, tmp_path: Path, target: str) -> None:
    damage(result / "heatmap" / "0" / "c" / "0" / "0" / "0")
    answer = cli("export", result, "--to", target, "-o", TARGETS[target])
    assert answer.code == 65
    assert "a part of the result cannot be read" in answer.err
    assert "verify" in answer.err
    assert not (tmp_path / TARGETS[target]).exists()


def test_a_missing_shard_is_not_taken_for_an_empty_one(cli: Cli, result: Path) -> None:
    (result / "heatmap" / "labels" / "segmentation" / "0" / "c" / "0" / "1").unlink()
    answer = cli("export", result, "--to", "qupath", "-o", "out")
    assert (answer.code, "1 shards are missing" in answer.err) == (65, True)


def test_an_unfinished_result_is_refused(cli: Cli, result: Path) -> None:
    (result / "COMPLETE").unlink()
    answer = cli("export", result, "--to", "qupath", "-o", "out")
    assert (answer.code, "this result is not finished" in answer.err) == (65, True)


@pytest.mark.parametrize("content", [None, "{}", '{"attributes": {}, "zarr_format": 3, "node_type": "group"}'])
def test_what_is_no_result_is_said(cli: Cli, tmp_path: Path, content: str | None) -> None:
    (tmp_path / "r.zarr").mkdir()
    if content is not None:
        (tmp_path / "r.zarr" / "zarr.json").write_text(content)
    answer = cli("export", "r.zarr", "--to", "qupath", "-o", "out")
    assert (answer.code, "this is not a result of xaipipe" in answer.err) == (65, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["r.zarr", "--to", "qpath", "-o", "out"], "there is no target 'qpath'\n  next: did you mean 'qupath'?"),
        (["nothing.zarr", "--to", "qupath", "-o", "out"], "there is no such result"),
        (["r.zarr", "--to", "png", "-o", "out.jpg"], "expected: FILE.png"),
        (["r.zarr", "--to", "png", "-o", "out.png", "--size", "3"], "parameter 'size' has a value"),
        (["r.zarr", "--to", "png", "-o", "out.png", "--sise", "300"], "unexpected '--sise'"),
        (["r.zarr", "--to", "qupath", "-o", "out", "--size", "300"], "unexpected '--size'"),
        (["r.zarr", "other.zarr", "--to", "png", "-o", "out.png"], "export takes one result"),
    ],
)
def test_a_call_that_is_off_is_a_usage_error(cli: Cli, result: Path, arguments: list[str], message: str) -> None:
    answer = cli("export", *arguments)
    assert answer.code == 2
    assert message in answer.err


def test_the_folder_of_the_output_has_to_be_there(cli: Cli, result: Path) -> None:
    assert cli("export", result, "--to", "qupath", "-o", "no/where").code == 74
    assert cli("export", result, "--to", "png", "-o", "no/where.png").code == 74


def test_machines_read_one_object(cli: Cli, result: Path) -> None:
    facts = json.loads(cli("--json", "export", result, "--to", "qupath", "-o", "out").out)
    assert facts == {"output": "out", "objects": "3 in objects.geojson"}


def test_help_names_every_target_with_its_flags(cli: Cli) -> None:
    text = " ".join(cli("export", "--help").out.split())
    for words in ("--to ome-zarr-0.4:", "--to png:", "--to qupath:", "--size (2048)", "--objects (detection)"):
        assert words in text


def test_a_target_of_a_plugin_is_found(cli: Cli, result: Path, tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(
        '''
from xaipipe_export import Exporter

class Count(Exporter):
    """How many objects there are."""

    name = "count"
    suffix = ".png"

    def write(self, result, place):
        place.write_text(str(len(result.labels)))
        return {"labels": len(result.labels)}
'''
    )
    answer = cli("--plugin", "counting.py", "export", result, "--to", "count", "-o", "out.png")
    assert answer.code == 0, answer.err
    assert (tmp_path / "out.png").read_text() == "1"


@pytest.mark.parametrize("target", TARGETS)
def test_what_replaces_an_export_has_survived_before_the_old_one_goes(
    cli: Cli, result: Path, tmp_path: Path, target: str
) -> None:
    """At moments all over an export over another, a power loss leaves one of the two whole, if not under its name."""
    (tmp_path / "exports").mkdir()
    output = tmp_path / "exports" / TARGETS[target]
    arguments = ("export", result, "--to", target, "-o", output)
    with recording(tmp_path / "exports", "none") as recorder:
        assert cli(*arguments).code == 0
        old = exported(output)
        recorder.moments.clear()
        assert cli(*arguments, "--overwrite").code == 0
        moments = [*recorder.moments[:: max(len(recorder.moments) // 20, 1)], *recorder.moments[-8:], recorder.moment()]
    new = exported(output)
    for number, moment in enumerate(moments):
        left = moment.restore(tmp_path / f"left{number}", "none").parent
        survived = [exported(path) for path in left.iterdir()]
        assert old in survived or new in survived


def exported(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}
