"""An array on disk whose reader misbehaves on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.reading.processes import readers, shared_memory
from tests.reading.troubled import faults_of
from xaipipe import Registry, Slide
from xaipipe.config import RunSettings
from xaipipe.reading.opening import open_guarded
from xaipipe.testing import striped_pixels

TROUBLED = Path(__file__).with_name("troubled.py")
PIXELS = striped_pixels(256, 320)


@pytest.fixture(scope="session")
def troubled() -> Registry:
    """All plugins, and the reader that misbehaves."""
    return Registry(files=[TROUBLED])


@pytest.fixture
def array(tmp_path: Path) -> Path:
    np.save(tmp_path / "slide.npy", PIXELS)
    return tmp_path / "slide.npy"


Opened = Callable[..., Slide]


@pytest.fixture
def guarded(troubled: Registry, array: Path) -> Iterator[Opened]:
    """Open the array with its faults; afterwards no process and no shared memory may be left."""
    before, shared = readers(), shared_memory()
    opened: list[Slide] = []

    def opener(*faults: list, **settings: object) -> Slide:
        faults_of(array).write_text(json.dumps(faults))
        slide = open_guarded(troubled, array, RunSettings(**{"read_timeout": 20, "reader_memory": 256, **settings}))
        opened.append(slide)
        return slide

    yield opener
    for slide in opened:
        with closing(slide):
            pass
    assert readers() == before
    assert shared_memory() == shared
