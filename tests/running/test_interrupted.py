"""Ctrl-C while a decoder hangs: the program ends at once, and its readers with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.reading.conftest import TROUBLED
from tests.reading.processes import gone, readers
from tests.reading.troubled import faults_of
from tests.running.slides import dotted

MAIN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may have it ignored
from xaipipe.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_does_not_wait_for_a_reader_that_hangs(tmp_path: Path, run_file: Path) -> None:
    slide = tmp_path / "slide.npy"
    np.save(slide, dotted(512, 512, [(60, 60)]))
    run_file.write_text(run_file.read_text().replace("tile = 32", 'tile = 32\ntissue = "off"\nbatch = 1'))
    faults_of(slide).write_text(json.dumps([["hang", 400, 400]]))
    arguments = ["--plugin", TROUBLED, "run", slide, "--config", run_file, "--trust", "-o", tmp_path / "out.zarr"]
    command = [sys.executable, "-c", MAIN, *map(str, arguments), "--set", "run.read_timeout=500"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    shards = tmp_path / "out.zarr" / "heatmap" / "0" / "c"
    while not (shards / "0" / "5").exists():  # the row of regions in front of the one that hangs
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(1)
    found = readers(process.pid)
    assert found
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert process.returncode == 130
    assert said.decode().splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in said.decode()
    assert gone(found)
