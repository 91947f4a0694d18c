"""The contract between stages: each violation is named with stage, tile, what was got and what was expected."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xaipipe import (
    Batch,
    BoundaryError,
    Explainer,
    Explanation,
    Grid,
    Level,
    Loader,
    Model,
    Postprocessor,
    Preprocess,
    Receipt,
    Segmentation,
    Segmenter,
    Slide,
    Stage,
    Tile,
)
from xaipipe.running.checks import check_result


class White(Slide):
    path = Path("white.svs")
    mpp = None
    fingerprint = "white"
    levels = (Level(64, 64, 1.0),)

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        return np.full((h, w, 3), 255, np.uint8)


class ALoader(Loader):
    name = "a-loader"

    def load(self, tiles: tuple[Tile, ...], preprocess: Preprocess, fitted: None) -> Batch: ...


class AnExplainer(Explainer):
    name = "an-explainer"

    def explain(self, batch: Batch, model: Model) -> Explanation: ...


class APostprocessor(Postprocessor):
    name = "a-postprocessor"

    def apply(self, explanation: Explanation) -> Explanation: ...


class ASegmenter(Segmenter):
    name = "a-segmenter"

    def segment(self, item: Any, fitted: Any) -> Segmentation: ...


TILES = tuple(Tile(White(), 0, y, 16, 8, 8) for y in (0, 8))
BATCH = Batch(TILES, torch.zeros(2, 3, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool))
EXPLANATION = Explanation(torch.zeros(2, 1, 4, 4), Grid((2.0, 2.0)), (0, 1), torch.zeros(2), (8, 8), tiles=TILES)
SEGMENTATION = Segmentation(torch.zeros(2, 8, 8, dtype=torch.int32), ("a",), EXPLANATION)
NAN = float("nan")


def spoiled(tensor: torch.Tensor, value: float) -> torch.Tensor:
    """With one bad value in the second map."""
    tensor = tensor.clone()
    tensor[1, ..., 0, 0] = value
    return tensor


@pytest.mark.parametrize(
    ("stage", "item", "result"),
    [
        (ALoader(), TILES, BATCH),
        (AnExplainer(), BATCH, EXPLANATION),
        (AnExplainer(), BATCH, EXPLANATION.replace(valid=torch.ones(2, 4, 4, dtype=torch.bool))),
        (AnExplainer(), BATCH, EXPLANATION.replace(values=torch.zeros(2, 3, 5, 6, dtype=torch.float16))),
        (APostprocessor(), EXPLANATION, EXPLANATION.replace(values=-EXPLANATION.values)),
        (ASegmenter(), EXPLANATION, SEGMENTATION),
        (ASegmenter(), SEGMENTATION, SEGMENTATION),
    ],
)
def test_what_keeps_the_contract_passes(stage: Stage, item: Any, result: Any) -> None:
    check_result(stage, item, result)


@pytest.mark.parametrize(
    ("stage", "item", "result", "problem", "got", "expected"),
    [
        (ALoader(), TILES, None, "returned the wrong type", "NoneType", "a Batch"),
        (
            ALoader(),
            TILES,
            replace(BATCH, pixels=torch.zeros(1, 3, 8, 8)),
            "returned pixels of the wrong shape",
            "(1, 3, 8, 8)",
            "(2, C, H, W)",
        ),
        (
            ALoader(),
            TILES,
            replace(BATCH, pixels=torch.zeros(2, 3, 8, 8, dtype=torch.uint8)),
            "returned pixels of the wrong type",
            "torch.uint8",
            "floating point",
        ),
        (
            ALoader(),
            TILES,
            replace(BATCH, pixels=spoiled(BATCH.pixels, NAN)),
            "returned pixels that are not finite",
            "NaN or infinity in map 1",
            "finite values",
        ),
        (
            ALoader(),
            TILES,
            replace(BATCH, valid=torch.ones(2, 8, 7)),
            "returned a validity mask of the wrong shape",
            "(2, 8, 7)",
            "(2, 8, 8)",
        ),
        (AnExplainer(), BATCH, EXPLANATION.values, "returned the wrong type", "Tensor", "a Explanation"),
        (
            AnExplainer(),
            BATCH,
            EXPLANATION.replace(values=torch.zeros(2, 4, 4)),
            "returned values of the wrong shape",
            "(2, 4, 4)",
            "(2, C, h, w)",
        ),
        (
            AnExplainer(),
            BATCH,
            EXPLANATION.replace(values=torch.zeros(3, 1, 4, 4)),
            "returned values of the wrong shape",
            "(3, 1, 4, 4)",
            "(2, C, h, w)",
        ),
        (
            AnExplainer(),
            BATCH,
            EXPLANATION.replace(values=torch.zeros(2, 1, 4, 4, dtype=torch.int64)),
            "returned values of the wrong type",
            "torch.int64",
            "floating point",
        ),
        (
            AnExplainer(),
            BATCH,
            EXPLANATION.replace(values=spoiled(EXPLANATION.values, NAN)),
            "returned values that are not finite",
            "NaN or infinity in map 1",
            "finite values",
        ),
        (
            AnExplainer(),
            BATCH,
            EXPLANATION.replace(values=spoiled(EXPLANATION.values, float("-inf"))),
            "returned values that are not finite",
            "NaN or infinity in map 1",
            "finite values",
        ),
        (
            AnExplainer(),
            BATCH,
            EXPLANATION.replace(scores=torch.zeros(2, 1)),
            "returned scores of the wrong shape",
            "(2, 1)",
            "(2)",
        ),
        (AnExplainer(), BATCH, EXPLANATION.replace(targets=(0,)), "returned the wrong number of targets", "1", "2"),
        (
            AnExplainer(),
            BATCH,
            EXPLANATION.replace(valid=torch.ones(2, 3, 4)),
            "returned a validity mask of the wrong shape",
            "(2, 3, 4)",
            "(2, 4, 4)",
        ),
        (
            APostprocessor(),
            EXPLANATION,
            EXPLANATION.replace(grid=Grid()),
            "moved or resized the map",
            "Grid(scale=(1.0, 1.0)",
            "Grid(scale=(2.0, 2.0)",
        ),
        (
            APostprocessor(),
            EXPLANATION,
            EXPLANATION.replace(values=torch.zeros(2, 1, 8, 8)),
            "moved or resized the map",
            "8, 8)",
            "4, 4)",
        ),
        (
            AnExplainer(),
            BATCH,
            EXPLANATION.replace(standard_error=torch.zeros(2, 1, 4, 5)),
            "returned a standard error of the wrong shape",
            "(2, 1, 4, 5)",
            "(2, 1, 4, 4)",
        ),
        (
            AnExplainer(),
            BATCH,
            EXPLANATION.replace(standard_error=torch.full((2, 1, 4, 4), NAN)),
            "returned standard errors that are not finite",
            "map 0",
            "finite",
        ),
        (ASegmenter(), EXPLANATION, EXPLANATION, "returned the wrong type", "Explanation", "a Segmentation"),
        (
            ASegmenter(),
            EXPLANATION,
            replace(SEGMENTATION, labels=torch.zeros(2, 1, 8, 8)),
            "returned labels of the wrong shape",
            "(2, 1, 8, 8)",
            "(2, 8, 8)",
        ),
        (
            ASegmenter(),
            EXPLANATION,
            replace(SEGMENTATION, labels=torch.zeros(2, 8, 8)),
            "returned labels of the wrong type",
            "torch.float32",
            "integers",
        ),
        (
            ASegmenter(),
            SEGMENTATION,
            replace(SEGMENTATION, labels=torch.ones(2, 8, 8, dtype=torch.bool)),
            "returned labels of the wrong type",
            "torch.bool",
            "integers",
        ),
    ],
)
def test_a_breach_names_stage_got_expected_and_tile(
    stage: Stage, item: Any, result: Any, problem: str, got: str, expected: str
) -> None:
    with pytest.raises(BoundaryError) as caught:
        check_result(stage, item, result)
    facts = caught.value.facts
    assert caught.value.problem == f"{stage.kind} method '{stage.name}' {problem}"
    assert got in str(facts["got"])
    assert expected in str(facts["expected"])
    assert "white.svs level 0 y=" in str(facts["where"])


def test_a_map_that_is_not_finite_is_placed_on_its_own_tile() -> None:
    with pytest.raises(BoundaryError) as caught:
        check_result(AnExplainer(), BATCH, EXPLANATION.replace(values=spoiled(EXPLANATION.values, NAN)))
    assert caught.value.facts["where"] == "white.svs level 0 y=8 x=16 h=8 w=8 halo=0"


def test_many_tiles_are_counted_instead_of_listed() -> None:
    tiles = tuple(Tile(White(), 0, y, 0, 8, 8) for y in range(9))
    with pytest.raises(BoundaryError, match="y=2 x=0 h=8 w=8 halo=0 and 6 more"):
        check_result(ALoader(), tiles, None)


def test_a_store_owes_a_receipt(registry: Any) -> None:
    store = registry.method("store", "ome_zarr")()
    with pytest.raises(BoundaryError, match="store method 'ome_zarr' returned the wrong type\n  got: str"):
        check_result(store, ("heatmap", None, None), "written")
    check_result(store, ("heatmap", None, None), Receipt("heatmap", None, "c/0", 1, "0"))


def test_other_values_lose_the_standard_error_of_the_old_ones() -> None:
    sampled = EXPLANATION.replace(standard_error=torch.ones(2, 1, 4, 4))
    assert sampled.replace(diagnostics={}).standard_error is not None
    assert sampled.replace(values=sampled.values + 1).standard_error is None
    assert sampled.replace(values=sampled.values + 1, standard_error=torch.ones(2, 1, 4, 4)).standard_error is not None
