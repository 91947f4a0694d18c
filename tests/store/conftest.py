"""A small slide, and the result of a run of it that nothing disturbed; each file of tests has its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.runs import pipeline, write_slide


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slide"))


@pytest.fixture(scope="module")
def straight(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("straight") / "out.zarr"
    pipeline().run(slide, output)
    return output
