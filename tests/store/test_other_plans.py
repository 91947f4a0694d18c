"""What differs between a run and the one that is to go on with it is refused by name; a model that failed may heal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.running.slides import RedFinder, dotted, tables, write_tiled
from tests.store.runs import CENTRES, CHAIN, content, pipeline, write_slide
from xaipipe import InputError, Model, Pipeline, UsageError
from xaipipe_store.ledger import Ledger, ledger_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A slide, and the result of a run on it."""
    folder = tmp_path_factory.mktemp("finished")
    slide = write_slide(folder)
    pipeline().run(slide, folder / "out.zarr")
    return slide, folder / "out.zarr"


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ({"tile": 32}, "settings.load.tile was 64, is 32"),
        ({"mpp": 0.25}, "settings.load.mpp was None, is 0.25"),
        ({"mpp": 0.25}, "slide.mpp was 0.5, is 0.25"),
        ({"stain": "reinhard"}, "settings.load.stain was None, is 'reinhard'"),
    ],
)
def test_another_plan_is_refused_by_what_differs(
    finished: tuple[Path, Path], load: dict[str, object], said: str
) -> None:
    slide, output = finished
    before = content(output)
    with pytest.raises(UsageError, match="begun under another plan") as caught:
        pipeline(load=load).run(slide, output, resume=True)
    assert said in str(caught.value)
    assert content(output) == before


def test_another_slide_under_the_same_name_is_refused(tmp_path: Path) -> None:
    slide, output = write_slide(tmp_path), tmp_path / "out.zarr"
    pipeline().run(slide, output)
    write_tiled(slide, dotted(240, 200, CENTRES[1:]))
    with pytest.raises(UsageError, match=r"slide\.fingerprint was"):
        pipeline().run(slide, output, resume=True)


class TwoHeads(RedFinder):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = super().forward(x)
        return scores, -scores


def test_another_output_of_the_model_is_refused(tmp_path: Path) -> None:
    slide, model = write_slide(tmp_path), TwoHeads()
    Pipeline(tables(), model=Model.of(model, output=0)).run(slide, tmp_path / "out.zarr")
    with pytest.raises(UsageError, match=r"model\.output was 0, is 1"):
        Pipeline(tables(), model=Model.of(model, output=1)).run(slide, tmp_path / "out.zarr", resume=True)


class Shaky(RedFinder):
    """Answers NaN at one call; its weights are those of a sound one."""

    calls, fails_at = 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (torch.nan if self.calls == self.fails_at else 1)


def test_nan_from_the_model_is_worded_and_what_was_committed_stays(tmp_path: Path) -> None:
    slide, model = write_slide(tmp_path), Shaky()
    Pipeline(tables(**CHAIN), model=model).run(slide, tmp_path / "straight.zarr")
    output, run = tmp_path / "out.zarr", Pipeline(tables(**CHAIN), model=model)
    model.fails_at = 2 * model.calls  # the last batch of all
    with pytest.raises(InputError, match="the model returned NaN or infinity") as caught:
        run.run(slide, output)
    assert caught.value.exit_code == 65
    assert "where: Shaky; dots.tif level 0 y=" in str(caught.value)
    ledger = Ledger(ledger_path(output))
    committed = {(receipt.array, receipt.region) for receipt in ledger.receipts()}
    ledger.close()
    summary = run.run(slide, output, resume=True)
    assert not committed & {(one.array, one.region) for one in summary.redone}
    assert sum(array == "raw" for array, _ in committed) == 3
    assert content(output) == content(tmp_path / "straight.zarr")
