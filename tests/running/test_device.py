"""Batches on a GPU: pinned while they wait, and the same maps as on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

import xaipipe
from tests.running.networks import LOCAL, made
from tests.running.slides import RedFinder, dotted, tables, write_tiled
from xaipipe.running.device import arriving, on_device, prepared
from xaipipe.types import Batch

CPU = torch.device("cpu")


def batch(value: float = 1.0) -> Batch:
    return Batch((), torch.full((2, 3, 8, 8), value), torch.ones(2, 8, 8, dtype=torch.bool))


def test_pixels_take_the_models_precision_and_masks_stay_masks() -> None:
    ready = prepared(batch(), CPU, torch.float64)
    assert (ready.pixels.dtype, ready.valid.dtype) == (torch.float64, torch.bool)


def test_batches_arrive_in_their_order() -> None:
    items = [(number, batch(number)) for number in range(5)]
    arrived = list(arriving(items, CPU, lambda item, change: (item[0], change(item[1]))))
    assert [(number, float(one.pixels[0, 0, 0, 0])) for number, one in arrived] == [(n, float(n)) for n in range(5)]


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_gpu
def test_batches_arrive_on_the_gpu_as_they_were_sent() -> None:
    device = torch.device("cuda")
    items = [prepared(batch(number), device, torch.float32) for number in range(20)]
    assert all(one.pixels.is_pinned() for one in items)
    for number, one in enumerate(arriving(items, device, lambda item, change: change(item))):
        assert one.pixels.device.type == "cuda"
        assert float(one.pixels.mean()) == number
    assert on_device(items[3], device).valid.all()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("mode", ["approximate", "exact"])
def test_a_run_on_the_gpu_gives_the_cpus_map(tmp_path: Path, mode: str) -> None:
    slide = write_tiled(tmp_path / "dots.tif", dotted(300, 332, [(40, 60), (130, 126), (255, 30)]))
    for device in ("cpu", "cuda"):
        model = RedFinder() if mode == "approximate" else made(LOCAL["strided"])
        layer = "activate" if mode == "approximate" else "body"
        changes = {"run": {"mode": mode, "device": device}, "explain": {"layer": layer, "signed": True}}
        xaipipe.Pipeline(tables(**changes), model=model.to(device)).run(slide, tmp_path / f"{device}.zarr")
    cpu, cuda = (zarr.open_group(tmp_path / f"{device}.zarr", mode="r")["heatmap/0"][:] for device in ("cpu", "cuda"))
    np.testing.assert_allclose(cuda, cpu, rtol=1e-4, atol=1e-6 * np.nanmax(np.abs(cpu)))
