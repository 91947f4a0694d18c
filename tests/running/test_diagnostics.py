"""What is said of tiles adds up the same, in whatever order and in whatever parts they come."""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import xaipipe
from xaipipe import Batch, Explanation, ExplanationWarning, Grid, Tile
from xaipipe.doubts import Doubt, doubt, listening, remark
from xaipipe.running.checks import checked
from xaipipe.running.diagnostics import Diagnostics, of_doubts, of_tiles
from xaipipe.testing.slides import MemorySlide

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


SLIDE = MemorySlide.striped()


def tile(y: int, x: int) -> Tile:
    return Tile(SLIDE, 0, y, x, 8, 8)


def said(places: list[tuple[int, int]], error: torch.Tensor | None = None, **facts: object) -> list[Diagnostics]:
    n = len(places)
    return list(
        of_tiles(
            Explanation(
                values=torch.zeros(n, 1, 2, 2),
                grid=Grid(),
                targets=(0,) * n,
                scores=torch.arange(n).double(),
                input_size=(8, 8),
                diagnostics=facts,
                tiles=tuple(tile(*place) for place in places),
                standard_error=error,
            )
        )
    )


@given(
    st.lists(st.tuples(NUMBERS, st.integers(0, 1000)), min_size=1, max_size=40, unique_by=lambda one: one[1]),
    st.randoms(),
)
def test_numbers_have_the_mean_and_the_ends_of_all_tiles_in_whatever_order(
    found: list[tuple[float, int]], order: random.Random
) -> None:
    values = [value for value, _ in found]
    every = said([(y, 8) for _, y in found], gap=values)
    straight = Diagnostics.merged(every)
    order.shuffle(every)
    assert Diagnostics.merged(every) == straight
    spread = straight.numbers["gap"]
    exact = sum(map(Fraction, values)) / len(values)
    assert math.isclose(spread.mean, float(exact), rel_tol=1e-15, abs_tol=0)
    assert (spread.tiles, spread.low, spread.high) == (len(values), min(values), max(values))
    largest = max(map(abs, values))
    assert (abs(spread.farthest), spread.y) == (largest, min(y for value, y in found if abs(value) == largest))


@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=4), min_size=1, max_size=6), st.randoms())
def test_regions_merge_in_whatever_order(regions: list[list[float]], order: random.Random) -> None:
    parts = [
        Diagnostics.merged(said([(8 * row, 8 * i) for i in range(len(values))], gap=values, said=f"text {row % 2}"))
        for row, values in enumerate(regions)
    ]
    straight = json.dumps(Diagnostics.merged(parts).facts)
    order.shuffle(parts)
    assert json.dumps(Diagnostics.merged(parts).facts) == straight
    kept = [Diagnostics.from_ledger(json.loads(json.dumps(part.for_ledger))) for part in parts]
    assert json.dumps(Diagnostics.merged(kept).facts) == straight


def test_lists_are_of_the_images_and_everything_else_of_all() -> None:
    facts = {
        "gap": [0.5, -2.0, float("nan")],
        "steps": 64,
        "layer": "features",
        "curve": [[1.0, 2.0], [3.0], []],
        "alphas": (0.0, 0.5, 1.0),
        "by_gradient": ("sort", "topk"),
        "nothing": None,
    }
    found = Diagnostics.merged(said([(0, 0), (0, 8), (8, 0)], **facts))
    assert found.tiles == 3
    assert set(found.numbers) == {"gap", "scores", "steps"}
    assert found.numbers["gap"].facts == {
        "tiles": 2, "mean": -0.75, "min": -2.0, "max": 0.5, "farthest_from_0": {"value": -2.0, "y": 0, "x": 8}
    }  # fmt: skip
    assert (found.numbers["steps"].tiles, found.numbers["steps"].mean) == (3, 64)
    assert found.texts == {"by_gradient": {"sort": 3, "topk": 3}, "gap": {"nan": 1}, "layer": {"features": 3}}


def test_a_standard_error_is_the_root_of_its_mean_square() -> None:
    error = torch.tensor([[[[3.0, 4.0], [0.0, 0.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    first, second = (one.numbers["standard_error"].mean for one in said([(0, 0), (0, 8)], error))
    assert (first, second) == (2.5, 1.0)


def test_a_manifest_lists_the_texts_that_are_said_most() -> None:
    places = [(y, 0) for y in range(60)]
    every = said(places, text=[f"text {min(y, 30):02}" for y in range(60)])
    listed = Diagnostics.merged(every).facts["texts"]["text"]
    assert list(listed.items())[:2] == [("text 30", 30), ("text 00", 1)]
    assert len(listed) == 20


def test_what_cannot_be_added_up_is_counted() -> None:
    found = Diagnostics.merged(said([(0, 0), (0, 8)], gap=[1e308, 1.0]))
    assert found.numbers["gap"].tiles == 1
    assert found.texts["gap"] == {"1e+308": 1}


def batch(*places: tuple[int, int]) -> Batch:
    n = len(places) or 3
    valid = torch.ones(n, 8, 8, dtype=torch.bool)
    return Batch(tuple(tile(*place) for place in places), torch.zeros(n, 3, 8, 8), valid)


def test_a_doubt_is_a_warning_unless_somebody_listens() -> None:
    """What is not known to be within its bound is beyond it."""

    def say() -> None:
        doubt("kind", batch(), [0.1, -1.0, 0.3], lambda image: f"image {image}")
        doubt("kind", batch(), [0.0, -1.0, float("nan")], lambda image: f"image {image}")
        remark("by the way")

    with pytest.warns(ExplanationWarning) as told:
        say()
    assert [str(one.message) for one in told] == ["image 2 (and 1 more images)", "image 2", "by the way"]
    with listening() as heard:
        say()
    found, unknown = heard.doubts
    assert (found.images, unknown.images, heard.remarks) == ([2, 0], [2], ["by the way"])


def test_doubtful_tiles_count_once_and_lost_ones_not_at_all() -> None:
    def about(kind: str, excess: list[float]) -> Doubt:
        return Doubt(kind, batch((0, 0), (0, 8), (8, 0)).tiles, tuple(excess), lambda image: f"{kind} {image}")

    doubts = [about("gap", [1.0, 2.0, 9.0]), about("gap", [3.0, 0.0, 1.0]), about("loss", [0.0, 0.0, 1.0])]
    found = of_doubts(doubts, {tile(8, 0)})
    (gap,) = found.doubts
    assert gap.facts == {"kind": "gap", "tiles": 2, "worst": {"y": 0, "x": 0}, "text": "gap 0"}
    (text,) = Diagnostics.merged([*said([(0, 0), (0, 8)]), found]).warnings()
    assert text == "gap 0\n  tiles: 2 of 2 are doubtful in this way; this is the worst"
    assert len(of_doubts(doubts, ()).doubts) == 2


def test_a_list_that_is_not_of_the_images_is_refused() -> None:
    class Talkative(xaipipe.Explainer):
        """Says too much.

        Misleads when: always.

        Example: none.

        Reference: none.
        """

        name = "talkative"

        def explain(self, batch: Batch, model: xaipipe.Model) -> Explanation:
            n = len(batch.pixels)
            scores = batch.pixels.new_zeros(n)
            return Explanation(batch.pixels, Grid(), (0,) * n, scores, (8, 8), {"curve": [0.0] * 5}, tiles=batch.tiles)

    stage = Talkative()
    with pytest.raises(xaipipe.BoundaryError, match="'curve' with the wrong number of entries") as told:
        checked(stage, batch(), lambda one: stage.explain(one, xaipipe.Model.of(torch.nn.Identity())))
    assert told.value.facts["got"] == 5
