"""A disk that is really full, a ledger that is, and a folder that is read-only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.store.runs import content, pipeline, write_slide
from xaipipe import StorageError
from xaipipe_store.ledger import Ledger, ledger_path

ROOT = Path(__file__).parents[2]
COPY = ("--set", "store.image=copy")
TIMED = """
import sys, time
started = time.process_time()
from xaipipe.cli.main import main
imported = time.process_time()
code = main(sys.argv[1:])
print(imported - started, time.process_time() - imported)
sys.exit(code)
"""

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """A small disk of its own, in memory; again with other options where it is there already."""
    folder = tmp_path / "disk"

    def mount_with(options: str) -> Path:
        again = ("remount," if folder.exists() else "") + options
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", again, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            pytest.skip(f"no disk can be mounted: {error}")
        if done.returncode:
            pytest.skip(f"no disk can be mounted: {done.stderr.strip()}")
        return folder

    yield mount_with
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("size", ["48k", "320k"])
def test_a_disk_that_is_full_is_74_and_the_run_goes_on_once_it_is_larger(
    cli: Cli, slide_file: Path, run_file: Path, mount: Mount, tmp_path: Path, size: str
) -> None:
    arguments = ("run", slide_file, "--config", run_file, "--trust", *COPY)
    assert cli(*arguments, "-o", "straight.zarr").code == 0
    output = mount(f"size={size}") / "out.zarr"
    answer = cli(*arguments, "-o", output)
    assert answer.code == 74
    assert "error: the output cannot be written" in answer.err or "error: the ledger cannot be used" in answer.err
    assert "No space left on device" in answer.err or "database or disk is full" in answer.err
    mount("size=64m")
    answer = cli("resume", output, "--trust")
    if answer.code == 2:
        assert "the run ended before it had begun to write" in answer.err
        answer = cli(*arguments, "-o", output)
    assert answer.code == 0, answer.err
    assert content(output) == content(tmp_path / "straight.zarr")


@pytest.mark.parametrize("pages", [9, 14])
def test_a_full_ledger_is_worded_and_the_run_goes_on_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    slide = write_slide(tmp_path)
    pipeline().run(slide, tmp_path / "straight.zarr")
    opened = Ledger.__init__

    def small(ledger: Ledger, path: Path) -> None:
        opened(ledger, path)
        ledger._run(f"PRAGMA max_page_count={pages}")

    output = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "__init__", small)
        with pytest.raises(StorageError, match="the ledger cannot be used") as caught:
            pipeline().run(slide, output)
    assert caught.value.exit_code == 74
    assert "database or disk is full" in str(caught.value)
    pipeline().run(slide, output, resume=ledger_path(output).is_file())
    assert content(output) == content(tmp_path / "straight.zarr")


def test_a_read_only_folder_is_74_at_once_and_the_model_is_not_loaded(
    slide_file: Path, run_file: Path, mount: Mount, tmp_path: Path
) -> None:
    output = mount("ro") / "out.zarr"
    arguments = ["run", slide_file, "--config", run_file, "--trust", "-o", output]
    command = [sys.executable, "-c", TIMED, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 74
    assert "error: the output cannot be written\n  got: Read-only file system" in done.stderr
    assert not (tmp_path / "was-run").exists()
    imports, command_itself = map(float, done.stdout.split())
    assert command_itself < 2, f"after {imports:.1f} s of imports"
