"""Integrated gradients keep to their budget on images of which many steps at once would not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
TENSORS = 30 * MIB
"""Of one step at 512 × 512 pixels."""


def taken(side: int, steps: int, budget: int) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.plugins.points_memory", *map(str, (side, steps, budget))]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is Linux's count")
@pytest.mark.parametrize("steps", [16, pytest.param(200, marks=pytest.mark.slow)])
def test_peak_memory_is_within_the_budget(steps: int) -> None:
    budget = 384 * MIB
    assert steps * TENSORS > budget, "all steps at once do not fit"
    found = taken(512, steps, budget)
    assert found["steps"] == steps
    assert 2 <= found["at_once"] <= 6
    assert 2 * TENSORS < found["grown"] <= budget
