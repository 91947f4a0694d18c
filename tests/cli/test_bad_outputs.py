"""Outputs that are somebody else's, cannot be written, or fail while writing: said first, and nothing is harmed."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from xaipipe_store.ome_zarr import OmeZarr

Cli = Callable[..., Any]
Snapshot = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def run(cli: Cli, slide_file: Path, run_file: Path) -> Cli:
    return lambda *arguments: cli("run", slide_file, "--config", run_file, "--trust", *arguments)


@pytest.fixture
def explain(cli: Cli, photograph: Path, model_file: Path) -> Cli:
    return lambda *arguments: cli("explain", photograph, "--model", "model.py:build", "--trust", *arguments)


@pytest.fixture
def untouched(tmp_path: Path, snapshot: Snapshot, run_file: Path, slide_file: Path, photograph: Path) -> Any:
    """Around a command: afterwards every file is what it was, and the model was not even loaded."""

    @contextmanager
    def watch() -> Iterator[None]:
        before = snapshot(tmp_path)
        yield
        assert snapshot(tmp_path) == before
        assert not (tmp_path / "was-run").exists()

    return watch


def somebodys_file(path: Path) -> None:
    path.write_bytes(b"three years of work")


def somebodys_folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("three years of work")


def somebodys_zarr(path: Path) -> None:
    zarr.create_array(path, data=np.arange(9.0), attributes={"made": "elsewhere"})


def a_broken_zarr(path: Path) -> None:
    path.mkdir()
    (path / "zarr.json").write_text('["xaipipe"]')


@pytest.mark.parametrize("make", [somebodys_file, somebodys_folder, somebodys_zarr, a_broken_zarr])
@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("command", ["run", "explain"])
def test_what_is_not_ours_is_never_overwritten(
    request: pytest.FixtureRequest, tmp_path: Path, untouched: Any, make: Any, overwrite: list[str], command: str
) -> None:
    output = tmp_path / ("out.zarr" if command == "run" else "out.png")
    make(output)
    with untouched():
        answer = request.getfixturevalue(command)("-o", output, *overwrite)
    assert answer.code == 2
    assert answer.err == (
        "error: the output exists and was not made by xaipipe\n"
        f"  where: {output}\n"
        "  next: choose another name; it was left as it is\n"
    )


def test_the_photograph_is_not_overwritten_by_its_explanation(explain: Cli, photograph: Path, untouched: Any) -> None:
    with untouched():
        assert explain("-o", photograph, "--overwrite").code == 2


def test_an_npz_of_somebody_else_is_not_overwritten(explain: Cli, tmp_path: Path, untouched: Any) -> None:
    np.savez(tmp_path / "data.npz", values=np.arange(3))
    with untouched():
        assert explain("-o", tmp_path / "data.npz", "--overwrite").code == 2


@pytest.mark.parametrize(("command", "name"), [("run", "out.zarr"), ("explain", "out.png"), ("explain", "out.npz")])
def test_what_is_ours_is_overwritten_only_when_asked(
    request: pytest.FixtureRequest, tmp_path: Path, snapshot: Snapshot, command: str, name: str
) -> None:
    call = request.getfixturevalue(command)
    assert call("-o", tmp_path / name).code == 0
    before = snapshot(tmp_path)
    (tmp_path / "was-run").unlink()
    answer = call("-o", tmp_path / name)
    assert answer.code == 2
    assert f"error: the output exists already\n  where: {tmp_path / name}\n  next: add --overwrite" in answer.err
    assert not (tmp_path / "was-run").exists()
    (tmp_path / "was-run").touch()
    assert snapshot(tmp_path) == before
    assert call("-o", tmp_path / name, "--overwrite").code == 0


@pytest.mark.parametrize(("command", "name"), [("run", "out.zarr"), ("explain", "out.png")])
@pytest.mark.parametrize(
    ("parent", "message"),
    [
        ("nowhere", "the folder of the output does not exist"),
        ("photograph.png", "the folder of the output is not a folder"),
        ("/proc", "the output cannot be written"),
        ("n" * 300, "the output cannot be written\n  got: File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_74_before_the_model_is_loaded(
    request: pytest.FixtureRequest, tmp_path: Path, untouched: Any, command: str, name: str, parent: str, message: str
) -> None:
    with untouched():
        answer = request.getfixturevalue(command)("-o", tmp_path / parent / name)
    assert answer.code == 74
    assert f"error: {message}" in answer.err
    assert "where: " in answer.err


def test_a_kind_of_output_that_is_unknown_is_said_first(explain: Cli, untouched: Any) -> None:
    with untouched():
        answer = explain("-o", "out.tiff")
    assert answer.err == "error: unknown kind of output\n  got: out.tiff\n  expected: FILE.png or FILE.npz\n"
    assert answer.code == 2


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "some shard")


def test_a_full_disk_at_the_start_is_74(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr, "create_group", no_space)
    answer = run("-o", "out.zarr")
    assert answer.code == 74
    assert answer.err.endswith(
        "error: the output cannot be written\n  got: No space left on device\n  where: some shard\n"
    )


def test_a_full_disk_in_the_middle_is_74(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr.Array, "__setitem__", no_space)
    answer = run("-o", "out.zarr")
    assert answer.code == 74
    assert "error: the output cannot be written\n  got: No space left on device" in answer.err
    assert not zarr.open_group("out.zarr").attrs["xaipipe"].get("complete")


def test_a_full_disk_leaves_the_picture_that_was_there(
    explain: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert explain("-o", "out.png").code == 0
    before = (tmp_path / "out.png").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", no_space)
    answer = explain("-o", "out.png", "--overwrite", "--target", "2")
    assert answer.code == 74
    assert "error: the output cannot be written\n  got: No space left on device" in answer.err
    assert (tmp_path / "out.png").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_an_output_that_was_swapped_between_claim_and_start_is_not_deleted(
    run: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    claim = OmeZarr.claim

    def claim_then_swap(self: OmeZarr, output: Path, overwrite: bool, resume: bool) -> None:
        claim(self, output, overwrite, resume)
        somebodys_folder(output)

    monkeypatch.setattr(OmeZarr, "claim", claim_then_swap)
    answer = run("-o", tmp_path / "out.zarr")
    assert answer.code == 2
    assert "error: the output is not ours" in answer.err
    assert (tmp_path / "out.zarr" / "notes.txt").read_text() == "three years of work"


def test_a_result_of_ours_with_somebodys_files_in_it_is_not_replaced(run: Cli, tmp_path: Path) -> None:
    assert run("-o", "out.zarr").code == 0
    (tmp_path / "out.zarr" / "notes.txt").write_text("mine")
    answer = run("-o", "out.zarr", "--overwrite")
    assert answer.code == 2
    assert (tmp_path / "out.zarr" / "notes.txt").read_text() == "mine"
