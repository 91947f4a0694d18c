"""ICC profiles: applied on request, against the definition of sRGB; what is missing or broken is said."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
import zarr
from PIL import Image

from xaipipe import InputError, LoaderParams, Registry, Slide
from xaipipe.colour import in_srgb
from xaipipe.slides import as_asked, open_slide
from xaipipe.testing import MemorySlide, striped_pixels
from xaipipe_readers.openslide_reader import open_with_openslide

SRGB_PRIMARIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
LINEAR = imagecodecs.cms_profile("rgb", gamma=1.0, whitepoint=(0.3127, 0.3290, 1.0), primaries=SRGB_PRIMARIES)
"""The colours of sRGB without its curve: whoever ignores it sees everything too dark."""
PIXELS = striped_pixels(150, 170)
NOT_THERE = "an ICC profile was asked for, but the file holds none: colours are as stored"
APPLIED = "colours are turned into sRGB by the file's ICC profile"


def srgb_of(linear: np.ndarray) -> np.ndarray:
    """The curve of IEC 61966-2-1."""
    v = linear / 255.0
    return 255 * np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)


class Profiled(MemorySlide):
    profile = LINEAR


def png(path: Path) -> Path:
    Image.fromarray(PIXELS).save(path.with_suffix(".png"), icc_profile=LINEAR)
    return path.with_suffix(".png")


def jpeg(path: Path) -> Path:
    """A profile long enough for two segments."""
    padded = LINEAR + bytes(70_000)
    Image.fromarray(PIXELS).save(path.with_suffix(".jpg"), icc_profile=padded, quality=95, subsampling=0)
    return path.with_suffix(".jpg")


def tiff(path: Path) -> Path:
    tifffile.imwrite(path.with_suffix(".tif"), PIXELS, photometric="rgb", iccprofile=LINEAR, metadata=None)
    return path.with_suffix(".tif")


def tiled(path: Path) -> Path:
    tifffile.imwrite(path.with_suffix(".tif"), PIXELS, tile=(64, 64), photometric="rgb", iccprofile=LINEAR)
    return path.with_suffix(".tif")


def read(slide: Slide) -> np.ndarray:
    return slide.read(0, 0, 0, slide.levels[0].height, slide.levels[0].width)


@pytest.mark.parametrize("write", [png, jpeg, tiff, tiled])
def test_every_kind_of_file_brings_its_profile(
    tmp_path: Path, registry: Registry, write: Callable[[Path], Path]
) -> None:
    with closing(open_slide(registry, write(tmp_path / "picture"))) as slide:
        assert slide.profile is not None
        assert slide.profile.startswith(LINEAR)
        seen = as_asked(slide, LoaderParams(icc=True))
        assert seen.notes == (APPLIED,)
        np.testing.assert_allclose(read(seen), srgb_of(read(slide)), atol=1.5)
        assert as_asked(slide, LoaderParams()) is slide


def test_openslide_brings_its_profile(tmp_path: Path) -> None:
    with closing(open_with_openslide(tiled(tmp_path / "picture"))) as slide:
        assert slide.profile is not None
        np.testing.assert_allclose(read(in_srgb(slide)), srgb_of(PIXELS), atol=1.5)
        assert openslide.OpenSlide(slide.path).color_profile.profile.xcolor_space == "RGB "


def test_boxes_are_crops_of_the_whole_from_any_thread() -> None:
    slide = in_srgb(Profiled((PIXELS,)))
    whole = read(slide)
    boxes = [(3 * i, 2 * i, 40, 50) for i in range(30)]
    with ThreadPoolExecutor(4) as pool:
        for (y, x, h, w), got in zip(boxes, pool.map(lambda box: slide.read(0, *box), boxes), strict=True):
            np.testing.assert_array_equal(got, whole[y : y + h, x : x + w])


def test_what_was_read_belongs_to_the_caller() -> None:
    in_srgb(Profiled((PIXELS,))).read(0, 0, 0, 5, 5)[:] = 0


def test_a_file_without_a_profile_says_so() -> None:
    slide = in_srgb(MemorySlide((PIXELS,)))
    assert slide.notes == (NOT_THERE,)
    np.testing.assert_array_equal(read(slide), PIXELS)


@pytest.mark.parametrize("profile", [b"", b"no profile", LINEAR[:200]])
def test_a_broken_profile_is_worded(profile: bytes) -> None:
    slide = type("Broken", (MemorySlide,), {"profile": profile})((PIXELS,))
    with pytest.raises(InputError, match="ICC profile cannot be used") as caught:
        in_srgb(slide)
    assert "leave [load] icc out" in str(caught.value)


def test_a_profile_for_grey_is_refused() -> None:
    class Grey(MemorySlide):
        profile = imagecodecs.cms_profile("gray", gamma=2.2, whitepoint=(0.3127, 0.3290, 1.0))

    with pytest.raises(InputError, match="not one for RGB\n  got: GRAY"):
        in_srgb(Grey((PIXELS,)))


@pytest.mark.parametrize(("write", "note"), [(tiled, APPLIED), (None, NOT_THERE)])
def test_plan_and_manifest_say_what_became_of_the_colours(
    cli: Any, run_file: Path, slide_file: Path, tmp_path: Path, write: Any, note: str
) -> None:
    slide = write(tmp_path / "profiled") if write else slide_file
    arguments = ("run", slide, "--config", run_file, "--trust", "--set", "load.icc=true")
    answer = cli(*arguments, "-o", "out.zarr")
    assert answer.code == 0, answer.err
    assert f"note     {note}" in answer.err
    assert zarr.open_group("out.zarr", mode="r").attrs["xaipipe"]["slide"]["notes"] == [note]


def test_a_photograph_is_explained_in_its_true_colours(cli: Any, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "icc.toml").write_text("[load]\nicc = true\n")
    arguments = ("--model", "model.py:build", "--trust", "--config", "icc.toml", "--target", "1", "-o", "heat.npz")
    answer = cli("explain", png(tmp_path / "picture"), *arguments)
    assert answer.code == 0, answer.err
    assert APPLIED in answer.out
