"""Directories of a TIFF: a circle is refused, and a chain that leads nowhere is somebody else's concern."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import tifffile

from tests.fuzz.corpus import circle, tiled
from xaipipe import InputError
from xaipipe_readers import open_slide
from xaipipe_readers.tiff_chain import check_chain


def test_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(circle(tiled(tmp_path / "b.tif", "deflate")))
    with pytest.raises(InputError, match="the TIFF's directories run in a circle") as caught:
        open_slide(tmp_path / "a.tif")
    assert caught.value.facts["where"] == tmp_path / "a.tif"


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_sound_chains_and_those_that_lead_nowhere_pass(tmp_path: Path, bigtiff: bool, order: str) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=order) as tif:
        for _ in range(3):
            tif.write(shape=(16, 16), dtype="uint8", data=None)
    check_chain(path)
    data = bytearray(path.read_bytes())
    start, form = (8, "Q") if bigtiff else (4, "I")
    for nowhere in (1, len(data) - 1, len(data) + 5, (1 << struct.calcsize(form) * 8) - 1):
        struct.pack_into(order + form, data, start, nowhere)
        path.write_bytes(data)
        check_chain(path)
    path.write_bytes(data[:9])
    check_chain(path)
