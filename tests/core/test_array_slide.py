"""Arrays and slides handed to a pipeline from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from tests.running.slides import RedFinder, dotted, tables, write_tiled
from tests.store.runs import content
from xaipipe import ArraySlide, InputError, Pipeline
from xaipipe.testing import MemorySlide

PIXELS = dotted(200, 260, [(60, 60), (150, 200)])


def run(slide: object, output: Path, **changes: object) -> zarr.Group:
    Pipeline(tables(**changes), model=RedFinder()).run(slide, output)
    return zarr.open_group(output, mode="r")


def test_an_array_gives_the_map_of_its_file(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "slide.tif", PIXELS, mpp=None)
    from_file, from_array = run(path, tmp_path / "a.zarr"), run(PIXELS, tmp_path / "b.zarr")
    np.testing.assert_array_equal(from_file["heatmap/0"][:], from_array["heatmap/0"][:])
    assert from_array.attrs["xaipipe"]["slide"]["name"] == "array"


def test_an_array_can_have_a_name_and_a_resolution(tmp_path: Path) -> None:
    root = run(ArraySlide(PIXELS, "biopsy", mpp=0.5), tmp_path / "a.zarr", preprocess={"mpp": 0.65})
    kept = root.attrs["xaipipe"]["slide"]
    assert (kept["name"], kept["mpp"]) == ("biopsy", 0.5)
    assert kept["notes"] == ["level 0 at 0.5 µm per pixel is resampled to 0.65"]


class Counted(MemorySlide):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_slide_that_is_handed_over_stays_open(tmp_path: Path) -> None:
    slide = Counted((PIXELS,))
    run(slide, tmp_path / "a.zarr")
    with pytest.raises(InputError, match="too coarse"):
        run(slide, tmp_path / "b.zarr", preprocess={"mpp": 0.01})
    assert slide.closed == 0


@pytest.mark.parametrize("slide", [PIXELS, MemorySlide((PIXELS,))], ids=["array", "slide"])
def test_a_run_on_an_array_is_resumed_from_python(tmp_path: Path, slide: object) -> None:
    output = tmp_path / "a.zarr"
    run(slide, output)
    before = content(output)
    (output / "heatmap/0/c/0/0/0").unlink()
    summary = Pipeline(tables(), model=RedFinder()).run(slide, output, resume=True)
    assert [str(one.region) for one in summary.redone] == ["region (0, 0) at y=0 x=0 h=128 w=128"]
    assert content(output) == before


def test_a_fingerprint_is_the_pixels() -> None:
    other = PIXELS.copy()
    other[-1, -1, -1] ^= 1
    assert ArraySlide(PIXELS).fingerprint == ArraySlide(PIXELS.copy()).fingerprint
    assert len({ArraySlide(PIXELS).fingerprint, ArraySlide(other).fingerprint}) == 2
    assert ArraySlide(PIXELS).fingerprint != ArraySlide(PIXELS.reshape(260, 200, 3)).fingerprint


@pytest.mark.parametrize("pixels", [PIXELS[:, :, 0], PIXELS.astype(np.uint16), PIXELS[:0]])
def test_what_is_no_picture_is_refused(tmp_path: Path, pixels: np.ndarray) -> None:
    with pytest.raises(InputError, match="the array is not a picture"):
        run(pixels, tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


def test_what_was_read_belongs_to_the_caller() -> None:
    slide = ArraySlide(PIXELS)
    assert torch.from_numpy(slide.read(0, 3, 4, 5, 6)).shape == (5, 6, 3)
    slide.read(0, 3, 4, 5, 6)[:] = 0
    np.testing.assert_array_equal(slide.read(0, 3, 4, 5, 6), PIXELS[3:8, 4:10])
