"""What maps say of themselves reaches a slide's result: every tile counts once, a kind of doubt is said once."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import Tensor

import xaipipe
from tests.reading.conftest import TROUBLED
from tests.reading.troubled import faults_of
from tests.running.slides import RedFinder, dotted, tables, write_tiled
from tests.store.runs import CENTRES, content
from xaipipe import ExplanationWarning, Pipeline, Registry
from xaipipe_store import durable

HEIGHT, WIDTH, TILE = 240, 200, 64
FEW_STEPS = {
    "method": "integrated_gradients", "target": 1, "score": "probability", "steps": 2, "quadrature": "riemann_left"
}  # fmt: skip
SAMPLED = {"method": "smoothgrad", "target": 1, "samples": 3}
TILES = [(y, x) for y in range(0, HEIGHT, TILE) for x in range(0, WIDTH, TILE)]


class Sharp(RedFinder):
    """Its probability is no straight line."""

    def forward(self, x: Tensor) -> Tensor:
        return 60 * super().forward(x)


def pipeline(explain: dict[str, Any], registry: Registry | None = None, **changes: Any) -> Pipeline:
    run = {"isolate": registry is not None}
    chosen = {**tables(run=run, **changes), "explain": explain}
    return Pipeline(chosen, model=Sharp().double(), registry=registry)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiled(tmp_path_factory.mktemp("slide") / "dots.tif", dotted(HEIGHT, WIDTH, CENTRES))


@pytest.fixture(scope="module")
def straight(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run that nothing disturbed, and what it warned of."""
    output = tmp_path_factory.mktemp("straight") / "out.zarr"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pipeline(FEW_STEPS).run(slide, output)
    return output, [str(one.message) for one in told if issubclass(one.category, ExplanationWarning)]


Alone = dict[tuple[int, int], tuple[xaipipe.Explanation, list[str]]]


def facts_of(output: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((output / "zarr.json").read_text())["attributes"]["xaipipe"]["diagnostics"]
    return facts


@pytest.fixture(scope="module")
def alone() -> Alone:
    """Every tile of the slide explained by itself, with what is warned of."""
    pixels = np.zeros((-(-HEIGHT // TILE) * TILE, -(-WIDTH // TILE) * TILE, 3), np.uint8)
    pixels[:HEIGHT, :WIDTH] = dotted(HEIGHT, WIDTH, CENTRES)
    model, found = Sharp().double(), {}
    for y, x in TILES:
        box = torch.from_numpy(pixels[y : y + TILE, x : x + TILE] / 255).permute(2, 0, 1)[None]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            explanation = xaipipe.explain(model, box, **FEW_STEPS)
        found[y, x] = explanation, [str(one.message) for one in told]
    return found


def gap_of(explanation: xaipipe.Explanation) -> float:
    (gap,) = explanation.diagnostics["completeness_gap"]
    return gap


def test_the_manifest_has_what_every_tile_says_of_itself(straight: tuple[Path, list[str]], alone: Alone) -> None:
    facts = facts_of(straight[0])
    gaps = {place: gap_of(explanation) for place, (explanation, _) in alone.items()}
    assert facts["tiles"] == len(TILES)
    assert facts["texts"] == {"score": {"probability": len(TILES)}}
    assert facts["numbers"]["steps"]["mean"] == 2
    worst = max(gaps, key=lambda place: abs(gaps[place]))
    got = facts["numbers"]["completeness_gap"]
    mean, ends = sum(gaps.values()) / len(gaps), (min(gaps.values()), max(gaps.values()))
    want = {"tiles": len(TILES), "mean": mean, "min": ends[0], "max": ends[1]}
    assert {name: got[name] for name in want} == pytest.approx(want, rel=1e-5, abs=1e-7)
    assert (got["farthest_from_0"]["y"], got["farthest_from_0"]["x"]) == worst
    assert got["farthest_from_0"]["value"] == pytest.approx(gaps[worst], rel=1e-5)


def test_a_run_says_every_kind_of_doubt_once_with_its_tiles(straight: tuple[Path, list[str]], alone: Alone) -> None:
    output, told = straight
    doubtful = [place for place, (_, said) in alone.items() if said]
    assert 2 < len(doubtful) < len(TILES)
    (text,) = told
    (doubt,) = facts_of(output)["doubts"]
    assert (doubt["kind"], doubt["tiles"]) == ("integrated_gradients: a gap to the difference", len(doubtful))
    worst = doubt["worst"]
    assert (worst["y"], worst["x"]) in doubtful
    assert f"the map of dots.tif level 0 y={worst['y']} x={worst['x']} h=64 w=64 halo=0, target 1" in doubt["text"]
    said = f"tiles: {len(doubtful)} of {len(TILES)} are doubtful in this way; this is the worst"
    assert text == f"{doubt['text']}\n  {said}"


class Stopped(BaseException):
    """Stands for the end of the process."""


def test_a_run_that_was_stopped_anywhere_says_the_same(
    slide: Path, straight: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = durable.write_durably
    for after in (0, 2, 3):
        shards = count()

        def counted(path: Path, data: object, shards: Iterator[int] = shards, after: int = after) -> durable.Written:
            if "heatmap/0/c" in str(path) and next(shards) >= after:
                raise Stopped
            return original(path, data)

        output = tmp_path / f"{after}.zarr"
        with monkeypatch.context() as patched:
            patched.setattr(durable, "write_durably", counted)
            with pytest.raises(Stopped):
                pipeline(FEW_STEPS).run(slide, output)
        with pytest.warns(ExplanationWarning) as told:
            summary = pipeline(FEW_STEPS).run(slide, output, resume=True)
        assert len({one.region for one in summary.redone if one.array == "heatmap"}) == 4 - after
        assert [str(one.message) for one in told] == straight[1]
        assert content(output) == content(straight[0])


def test_a_repaired_region_counts_once(slide: Path, straight: tuple[Path, list[str]], tmp_path: Path) -> None:
    output = tmp_path / "out.zarr"
    with pytest.warns(ExplanationWarning):
        pipeline(FEW_STEPS).run(slide, output)
    shard = next(path for path in sorted(output.glob("heatmap/0/c/**/*")) if path.is_file())
    shard.write_bytes(b"rubbish")
    with pytest.warns(ExplanationWarning):
        summary = pipeline(FEW_STEPS).run(slide, output, resume=True)
    assert any("bytes" in one.reason for one in summary.redone)
    assert content(output) == content(straight[0])


def test_a_tile_that_cannot_be_read_says_nothing(tmp_path: Path, alone: Alone) -> None:
    """In its place another tile is explained, which must not count twice."""
    array = tmp_path / "slide.npy"
    np.save(array, dotted(HEIGHT, WIDTH, CENTRES))
    place = (64, 128)
    faults_of(array).write_text(json.dumps([["worded", *place]]))
    registry = Registry(files=[TROUBLED])
    with pytest.warns(ExplanationWarning) as told:
        pipeline(FEW_STEPS, registry).run(array, tmp_path / "out.zarr")
    facts = facts_of(tmp_path / "out.zarr")
    others = [one for at, one in alone.items() if at != place]
    gaps = [gap_of(explanation) for explanation, _ in others]
    assert len(gaps) == len(TILES) - 1 == facts["tiles"] == facts["numbers"]["completeness_gap"]["tiles"]
    assert facts["numbers"]["completeness_gap"]["mean"] == pytest.approx(sum(gaps) / len(gaps), rel=1e-5)
    doubtful = sum(bool(said) for _, said in others)
    assert f"tiles: {doubtful} of {len(gaps)} are doubtful" in str(told[0].message)


def test_standard_errors_are_an_image_of_their_own(slide: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.zarr"
    changes = {"postprocess": [{"method": "smooth"}], "store": {"smallest_level": 64}}
    pipeline(SAMPLED, **changes).run(slide, output)
    group = zarr.open_group(output / "standard_error", mode="r")
    errors, raw = group["0"][:], zarr.open_array(output / "raw" / "0", mode="r")[:]
    assert errors.shape == raw.shape
    assert (errors >= 0).all()
    assert len(group.attrs["ome"]["multiscales"][0]["datasets"]) == 3
    window = group.attrs["ome"]["omero"]["channels"][0]["window"]
    assert (window["start"], window["end"] > 0) == (0, True)
    assert "standard_error" in zarr.open_group(output / "OME", mode="r").attrs["ome"]["series"]
    number = facts_of(output)["numbers"]["standard_error"]
    whole = [(y, x) for y, x in TILES if y + TILE <= HEIGHT and x + TILE <= WIDTH]
    per_tile = [np.sqrt(np.square(errors[:, y : y + TILE, x : x + TILE]).mean()) for y, x in whole]
    assert number["tiles"] == len(TILES)
    assert number["min"] <= min(per_tile) * (1 + 1e-6)
    assert number["max"] >= max(per_tile) * (1 - 1e-6)
