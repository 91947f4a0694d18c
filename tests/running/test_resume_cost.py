"""Going on after a death costs what was in flight, and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from torch import Tensor, nn

import xaipipe
from tests.running.slides import RedFinder, dotted, tables, write_tiled
from xaipipe.running.commits import COMMITS_IN_FLIGHT

SETTINGS = {"explain": {"layer": "model.activate"}, "load": {"tile": 32, "batch": 4}, "store": {"shard": 64}}
BATCHES_A_REGION = 1


class Mortal(nn.Module):
    """Counts what it is asked, and dies at a call."""

    def __init__(self, die_at: int | None = None) -> None:
        super().__init__()
        self.model, self._die_at = RedFinder(), die_at
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self._die_at:
            raise KeyboardInterrupt
        return self.model(x)


def pipeline(model: nn.Module) -> xaipipe.Pipeline:
    return xaipipe.Pipeline(tables(**SETTINGS), model=model)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slide")
    return write_tiled(folder / "dots.tif", dotted(640, 512, [(40, 60), (330, 126), (600, 500)]))


@pytest.fixture(scope="module")
def calls(slide: Path) -> tuple[int, int]:
    """Of an undisturbed run's planning, and of all of it; its result lies beside the slide."""
    undisturbed, planning = Mortal(), Mortal()
    pipeline(undisturbed).run(slide, slide.with_name("straight.zarr"))
    pipeline(planning).prepare(slide).plan.tiling.slide.close()
    return planning.calls, undisturbed.calls


@pytest.mark.parametrize("share", [0.1, 0.95])
def test_only_what_was_in_flight_is_computed_again(
    slide: Path, calls: tuple[int, int], tmp_path: Path, share: float
) -> None:
    planned, whole = calls
    die_at = planned + round(share * (whole - planned))
    with pytest.raises(KeyboardInterrupt):
        pipeline(Mortal(die_at)).run(slide, tmp_path / "out.zarr")
    again = Mortal()
    pipeline(again).run(slide, tmp_path / "out.zarr", resume=True)
    in_flight = (COMMITS_IN_FLIGHT + 2) * BATCHES_A_REGION  # waiting to be written, being written, being made
    assert die_at + again.calls - planned <= whole + in_flight
    straight, out = (
        zarr.open_group(path, mode="r") for path in (slide.with_name("straight.zarr"), tmp_path / "out.zarr")
    )
    np.testing.assert_array_equal(out["heatmap/0"][:], straight["heatmap/0"][:])
