"""A larger slide takes more time, not more memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MEASURED_RUN = """
import resource, sys
from xaipipe.cli.main import main
code = main(["--json", "demo", "--size", sys.argv[1], "-o", sys.argv[2]])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def peak(size: int, folder: Path) -> int:
    """KiB that a demo of its own process took at most."""
    run = [sys.executable, "-c", MEASURED_RUN, str(size), str(folder / str(size))]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    return int(done.stdout.rsplit("peak", 1)[1])


@pytest.mark.slow
def test_four_times_the_slide_takes_the_same_memory(tmp_path: Path) -> None:
    small, large = peak(8192, tmp_path), peak(16384, tmp_path)
    assert large <= 1.1 * small, f"{small} KiB at 8192², {large} KiB at 16384²"
