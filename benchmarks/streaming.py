"""A whole run against the same explaining with all tiles already in memory: `python benchmarks/streaming.py`.

The run reads and decodes the slide, explains, assembles, compresses and commits; the loop does nothing but explain.
Their maps are compared bit by bit before anything is timed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
import zarr
from _timing import machine
from torch import Tensor, nn

import xaipipe
from xaipipe.models.model import as_found
from xaipipe.running.device import on_device
from xaipipe_demo.scene import Scene
from xaipipe_demo.tiff import write_slide

FLOOR = 0.9
TABLES = {
    "preprocess": {"size": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "load": {"tissue": "off"},
    "explain": {"method": "gradcam", "layer": "body", "target": "predicted"},
    "store": {"shard": 1120},
}


class Block(nn.Module):
    """Two convolutions and a way past them, as in ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = _conv(inputs, outputs, 3, stride), _conv(outputs, outputs, 3, 1)
        self.past = nn.Identity() if stride == 1 else _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.past(x))


class ResNet18(nn.Module):
    """With random weights: what it sees does not matter for how long it takes."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        inputs = 64
        for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
            inputs = outputs
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(dim=(2, 3)))


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = _compared(Path(folder), options)
    print(table)
    if options.out:
        options.out.write_text(table, encoding="utf-8")


def _compared(folder: Path, options: argparse.Namespace) -> str:
    slide = write_slide(Scene(seed=0, height=options.size, width=options.size), folder / "slide.svs")
    torch.manual_seed(0)
    model = ResNet18().eval().to(options.device)
    tables = {**TABLES, "run": {"device": options.device}}
    pipeline = xaipipe.Pipeline(tables, model=model)
    streamed, looped = [], []
    for repeat in range(options.repeats):
        output = folder / f"{repeat}.zarr"
        with pipeline.claimed(output):
            run = pipeline.prepare(slide)
            batches = [tiles for region in run.plan.regions for tiles in region.batches(run.batch)]
            held = [run.stage(run.config.loader, tiles) for tiles in batches]
            started = time.perf_counter()
            maps = _loop(run, held)
            looped.append(time.perf_counter() - started)
            del held
            summary = pipeline.execute(run)
        streamed.append(summary.seconds)
        _require_equal(run, batches, maps, output)
    tiles, best = summary.tiles, min(looped) / min(streamed)
    return (
        f"# A run against explaining alone, {date.today()}\n\n"
        f"{machine(options.device)}\n\n"
        f"{tiles} tiles of 224 px of a generated JPEG slide, ResNet-18 with random weights, Grad-CAM; best of "
        f"{options.repeats}. Maps are equal, bit by bit.\n\n"
        "| | seconds | tiles a second |\n|---|---|---|\n"
        f"| tiles in memory, explained | {min(looped):.2f} | {tiles / min(looped):.1f} |\n"
        f"| the whole run | {min(streamed):.2f} | {tiles / min(streamed):.1f} |\n\n"
        f"Share of the throughput: {best:.3f} (floor {FLOOR}: {'held' if best >= FLOOR else 'MISSED'})\n"
    )


def _loop(run: xaipipe.pipeline.Run, held: list[xaipipe.Batch]) -> list[Tensor]:
    with as_found(run.model.module):
        found = [run.stage(run.config.explainer, on_device(batch, run.model.device)) for batch in held]
    return [explanation.values.cpu() for explanation in found]


def _require_equal(run: xaipipe.pipeline.Run, batches: list[tuple], maps: list[Tensor], output: Path) -> None:
    stored = zarr.open_group(output, mode="r")["heatmap/0"][:]
    step = run.plan.lattice.step[0]
    for tiles, values in zip(batches, maps, strict=True):
        for tile, one in zip(tiles, values.numpy(), strict=True):
            y, x = tile.y // step, tile.x // step
            place = stored[:, y : y + one.shape[1], x : x + one.shape[2]]
            np.testing.assert_array_equal(place, one[:, : place.shape[1], : place.shape[2]])


if __name__ == "__main__":
    main()
