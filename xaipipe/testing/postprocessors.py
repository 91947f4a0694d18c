"""The contract of postprocessors."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch

from xaipipe.running.checks import check_result
from xaipipe.stages import Postprocessor
from xaipipe.testing.comparing import assert_close, assert_same_bits
from xaipipe.testing.maps import random_map
from xaipipe.testing.params import StageContract
from xaipipe.types import Explanation, Grid


class PostprocessorContract(StageContract):
    """Every promise that a postprocessor makes."""

    method: ClassVar[type[Postprocessor]]
    tolerance: ClassVar[float] = 1e-5
    """How far results may differ where the order of sums does; a share of the largest value."""

    def apply(self, explanation: Explanation) -> Explanation:
        """With the checks at the stage's boundary."""
        stage: Postprocessor = self.build()
        result = stage.apply(explanation)
        check_result(stage, explanation, result)
        return result

    def test_keeps_grid_shape_and_type(self) -> None:
        for explanation in (random_map(2), random_map(2, (9, 7)), replace(random_map(2), valid=None)):
            result = self.apply(explanation)
            assert result.values.dtype == explanation.values.dtype
            assert (result.targets, result.input_size) == (explanation.targets, explanation.input_size)

    def test_holes_stay_holes_and_hold_nothing(self) -> None:
        explanation = random_map(2)
        assert explanation.valid is not None
        result = self.apply(explanation)
        assert result.valid is not None
        assert_same_bits(result.valid, explanation.valid, "valid cells")
        inside = result.values[~explanation.valid[:, None].expand_as(result.values)]
        assert not inside.any(), "cells without a value must hold 0"

    def test_input_is_not_modified(self) -> None:
        explanation = random_map(2)
        values = explanation.values.clone()
        self.apply(explanation)
        assert_same_bits(explanation.values, values)
        assert_same_bits(explanation.valid, random_map(2).valid, "valid cells")

    def test_same_call_gives_same_bits(self) -> None:
        explanation = random_map()
        first = self.apply(explanation)
        torch.rand(7)  # whoever draws from the global random state goes on from another place
        assert_same_bits(self.apply(explanation).values, first.values)

    def test_batch_equals_maps_one_by_one(self) -> None:
        together = random_map(3)
        result = self.apply(together)
        for i in range(3):
            alone = self.apply(_box(together, slice(i, i + 1), slice(None), slice(None)))
            assert_close(result.values[i : i + 1], alone.values, self.tolerance, f"map {i}")

    def test_halo_is_honest(self) -> None:
        margin = self.build().halo()
        assert margin >= 0
        rows, columns = 2 * margin + 24, 2 * margin + 32
        whole = random_map(cells=(rows, columns))
        expected = self.apply(whole)
        for top in (0, 9, rows - 8):
            for left in (0, 11, columns - 8):
                first = (max(top - margin, 0), max(left - margin, 0))
                crop = _box(whole, slice(None), slice(first[0], top + 8 + margin), slice(first[1], left + 8 + margin))
                y, x = top - first[0], left - first[1]
                got = self.apply(crop).values[:, :, y : y + 8, x : x + 8]
                want = expected.values[:, :, top : top + 8, left : left + 8]
                assert_close(got, want, self.tolerance, f"8 × 8 cells at ({top}, {left}) with a margin of {margin}")


def _box(explanation: Explanation, image: slice, rows: slice, columns: slice) -> Explanation:
    """Some cells of some maps, where they lie."""
    values = explanation.values[image, :, rows, columns]
    (sy, sx), (oy, ox) = explanation.grid.scale, explanation.grid.offset
    assert explanation.valid is not None
    return explanation.replace(
        values=values,
        valid=explanation.valid[image, rows, columns],
        grid=Grid((sy, sx), (oy + sy * (rows.start or 0), ox + sx * (columns.start or 0))),
        targets=explanation.targets[image],
        scores=explanation.scores[image],
    )
