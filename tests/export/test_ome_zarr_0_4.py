"""`--to ome-zarr-0.4`: the same pixels in the older format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.conftest import Cli
from tests.standards import check_standards
from tests.store.runs import pipeline, write_slide


@pytest.fixture
def exported(cli: Cli, tmp_path: Path) -> Path:
    pipeline().run(write_slide(tmp_path), tmp_path / "out.zarr")
    answer = cli("export", "out.zarr", "--to", "ome-zarr-0.4", "-o", "old.zarr")
    assert answer.code == 0, answer.err
    return tmp_path / "old.zarr"


def test_it_is_what_the_older_standard_says(exported: Path) -> None:
    assert check_standards(exported) == check_standards(exported.with_name("out.zarr"))


def test_pixels_are_identical(exported: Path) -> None:
    new, old = (zarr.open_group(path, mode="r") for path in (exported.with_name("out.zarr"), exported))
    arrays = [str(path.parent.relative_to(exported)) for path in exported.rglob(".zarray")]
    new_arrays = [path for path in exported.with_name("out.zarr").rglob("zarr.json") if '"array"' in path.read_text()]
    assert len(arrays) == len(new_arrays) > 12
    for name in arrays:
        assert old[name].dtype == new[name].dtype
        np.testing.assert_array_equal(old[name][:], new[name][:])


def test_arrays_are_of_zarr_2_with_slashes_and_without_shards(exported: Path) -> None:
    for path in exported.rglob(".zarray"):
        stored = json.loads(path.read_text())
        assert (stored["zarr_format"], stored["dimension_separator"]) == (2, "/")
        assert stored["compressor"]["id"] == "blosc"
    assert not list(exported.rglob("zarr.json"))


def test_every_part_names_its_version(exported: Path) -> None:
    for path in exported.rglob(".zattrs"):
        stored = json.loads(path.read_text())
        assert "ome" not in stored
        for part in (*stored.get("multiscales", ()), stored.get("omero"), stored.get("image-label")):
            assert part is None or part["version"] == "0.4"
