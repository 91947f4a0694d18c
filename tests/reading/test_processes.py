"""Reader processes start small, and end with whoever asked for them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reading.conftest import TROUBLED, Opened
from tests.reading.processes import alive, gone, readers, shared_memory

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, threading
from pathlib import Path
from xaipipe import Registry
from xaipipe.config import RunSettings
from xaipipe.reading.opening import open_guarded

array, plugin = map(Path, sys.argv[1:])
slide = open_guarded(Registry(files=[plugin]), array, RunSettings(read_timeout=600))
threading.Thread(target=slide.read, args=(0, 80, 80, 50, 50), daemon=True).start()
slide.read(0, 0, 0, 20, 20)
print("reading", flush=True)
threading.Event().wait()
"""


@pytest.fixture
def holder(guarded: Opened, array: Path) -> subprocess.Popen[bytes]:
    """A program with two readers, one of which hangs inside a decoder with Python's lock held."""
    guarded(["hang", 100, 100]).close()
    command = [sys.executable, "-c", HOLDER, str(array), str(TROUBLED)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"reading\n"
    return process


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_readers_end_with_the_program(holder: subprocess.Popen[bytes], end: signal.Signals) -> None:
    shared = shared_memory()
    found = readers(holder.pid)
    assert len(found) == 2
    assert all(map(alive, found))
    holder.send_signal(end)
    holder.communicate(timeout=20)
    assert gone(found)
    assert shared_memory() <= shared


def test_a_reader_does_without_torch(guarded: Opened) -> None:
    """That is what keeps it small: 40 instead of 250 MiB, and ready in a fifth of a second."""
    guarded()
    (reader,) = readers()
    assert "libtorch" not in Path(f"/proc/{reader}/maps").read_text()
    status = Path(f"/proc/{reader}/status").read_text()
    (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    assert resident < 100 << 10
