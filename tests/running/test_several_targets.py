"""Several targets in one run: each has the result that a run of it alone has, from one reading and one forward pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import nn

import xaipipe
from tests.reading.conftest import TROUBLED
from tests.reading.troubled import faults_of
from tests.running import whole
from tests.running.networks import LOCAL, made
from tests.running.slides import RedFinder, dotted, tables, write_tiled
from tests.running.whole import Counting
from tests.store.runs import CENTRES, CHAIN, content, write_slide
from xaipipe import InputError, Pipeline, Registry, StorageError, Summary, UsageError
from xaipipe_store import durable
from xaipipe_store.ome_zarr import OmeZarr

BOTH = ["red", "other"]
EXACT = {
    "summed": {"method": "input_x_gradient"},
    "fitted": {"method": "gradcam", "layer": "net.body", "signed": True},
    "compared": {"method": "deeplift", "reference": "mean"},
}


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slide"))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiled(tmp_path_factory.mktemp("noise") / "noise.tif", whole.noise())


def chain(target: Any) -> Pipeline:
    """With everything that a result may hold."""
    return Pipeline(tables(**CHAIN, explain={"target": target}), model=RedFinder())


def pipeline(target: Any, model: nn.Module | None = None) -> Pipeline:
    return Pipeline(tables(explain={"target": target}), model=model or RedFinder())


def exactly(target: Any, method: dict[str, Any], net: nn.Module) -> Pipeline:
    return Pipeline(whole.tables({**method, "target": target}), model=net)


def values(output: Path) -> np.ndarray:
    return np.asarray(zarr.open_group(output, mode="r")["heatmap/0"])


# -- the same as one by one ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return chain(BOTH).run(slide, tmp_path_factory.mktemp("both") / "both.zarr")


@pytest.mark.parametrize("target", BOTH)
def test_each_result_is_that_of_a_run_of_its_target_alone(
    slide: Path, both: Summary, tmp_path: Path, target: str
) -> None:
    alone = chain(target).run(slide, tmp_path / "alone.zarr")
    own = both.targets[target]
    assert own.output == both.output / f"{target}.zarr"
    assert content(own.output) == content(alone.output)
    assert (own.instances, own.findings, own.diagnostics) == (alone.instances, alone.findings, alone.diagnostics)
    assert own.bytes_written == alone.bytes_written


def test_the_summary_is_that_of_all(both: Summary) -> None:
    assert list(both.targets) == BOTH
    assert both.output.name == "both.zarr"
    assert both.bytes_written == sum(one.bytes_written for one in both.targets.values())
    assert (both.findings, both.instances, both.diagnostics) == ({}, (), None)


def test_each_result_says_its_target(both: Summary) -> None:
    for target, one in both.targets.items():
        assert zarr.open_group(one.output, mode="r").attrs["xaipipe"]["settings"]["explain"]["target"] == target


def test_a_doubt_is_that_of_its_target(slide: Path, tmp_path: Path) -> None:
    class Sharp(RedFinder):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x.mean(dim=(1, 2, 3)), 60 * super().forward(x)[:, 1].square()], dim=1)

    explain = {"method": "integrated_gradients", "steps": 2, "quadrature": "riemann_left", "target": [0, 1]}
    asking = Pipeline({**tables(), "explain": explain}, model=Sharp().double())
    with pytest.warns(xaipipe.ExplanationWarning, match=r"target 1, sums to[\s\S]* of 16 are doubtful") as told:
        summary = asking.run(slide, tmp_path / "out")
    assert [len(one.diagnostics.doubts) for one in summary.targets.values()] == [0, 1]
    assert len(told) == 1


@pytest.mark.parametrize("method", EXACT)
def test_exact_maps_are_those_of_runs_of_each_target(noise: Path, tmp_path: Path, method: str) -> None:
    both, one = (Counting(made(LOCAL["strided"])) for _ in range(2))
    together = exactly([2, "predicted"], EXACT[method], both).run(noise, tmp_path / "both").targets["predicted"]
    alone = exactly("predicted", EXACT[method], one).run(noise, tmp_path / "alone.zarr")
    assert whole.difference(values(together.output), values(alone.output)) < 1e-12
    said, said_alone = (summary.findings["whole image"] for summary in (together, alone))
    assert said.pop("target") == said_alone.pop("target")
    assert said.pop("compared_with", []) == pytest.approx(said_alone.pop("compared_with", []), rel=1e-12)
    assert said == pytest.approx(said_alone, rel=1e-12)
    assert both.calls == one.calls, "a target more costs a forward pass"


# -- one reading, one forward pass --------------------------------------------------------------------------


class Watched(xaipipe.ArraySlide):
    reads = 0

    def read(self, *box: int) -> np.ndarray:
        self.reads += 1
        return super().read(*box)


def test_a_target_more_needs_neither_a_read_nor_a_forward_pass_more(tmp_path: Path) -> None:
    counts = []
    for target in (1, [1, 0]):
        net, slide = Counting(RedFinder()), Watched(dotted(240, 200, CENTRES))
        settings = {**tables(store={"image": "copy"}), "explain": {"method": "saliency", "target": target}}
        Pipeline(settings, model=net).run(slide, tmp_path / str(target))
        counts.append((net.calls, slide.reads))
    assert counts[0] == counts[1]
    assert min(counts[0]) > 4


def test_what_is_planned_counts_every_targets_result(slide: Path) -> None:
    one, two = (chain(target).prepare(slide) for target in ("red", BOTH))
    assert two.plan.bytes == 2 * one.plan.bytes
    assert [run.name for run in two.every] == BOTH
    for run in (one, two):
        run.plan.tiling.slide.close()


# -- after a crash ------------------------------------------------------------------------------------------


class Stopped(BaseException):
    """Stands for the end of the process."""


def stop_at(monkeypatch: pytest.MonkeyPatch, shard: int) -> None:
    """The end comes when so many shards of maps have been written, of both targets."""
    original, seen = durable.write_durably, [0]

    def counted(path: Path, data: object) -> durable.Written:
        if "raw/0/c" in str(path):
            seen[0] += 1
            if seen[0] > shard:
                raise Stopped
        return original(path, data)

    monkeypatch.setattr(durable, "write_durably", counted)


def test_a_resumed_run_goes_on_with_every_target(
    slide: Path, both: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "both.zarr"
    with monkeypatch.context() as patched:
        stop_at(patched, 3)
        with pytest.raises(Stopped):
            chain(BOTH).run(slide, output)
    summary = chain(BOTH).run(slide, output, resume=True)
    redone = [sum(one.array == "raw" for one in own.redone) for own in summary.targets.values()]
    assert redone == [2, 3], "of the second region the first target's map was there"
    for target in BOTH:
        assert content(output / f"{target}.zarr") == content(both.targets[target].output)


def test_one_of_the_results_can_be_resumed_by_itself(slide: Path, both: Summary, tmp_path: Path) -> None:
    output = Path(shutil.copytree(both.output, tmp_path / "both.zarr"))
    next(path for path in sorted(output.glob("red.zarr/raw/0/c/**/*")) if path.is_file()).unlink()
    summary = chain("red").run(slide, output / "red.zarr", resume=True)
    assert any(one.array == "raw" for one in summary.redone)
    assert content(output / "red.zarr") == content(both.targets["red"].output)


def test_a_run_that_ended_before_the_second_result_was_there_is_resumed(
    slide: Path, both: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, original = tmp_path / "both.zarr", OmeZarr.create

    def create(store: OmeZarr, *rest: Any) -> None:
        if store.output.name == "other.zarr":
            raise Stopped
        original(store, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(OmeZarr, "create", create)
        with pytest.raises(Stopped):
            chain(BOTH).run(slide, output)
    chain(BOTH).run(slide, output, resume=True)
    for target in BOTH:
        assert content(output / f"{target}.zarr") == content(both.targets[target].output)


def test_an_exact_run_goes_on_with_every_target(noise: Path, tmp_path: Path) -> None:
    first, died, again = (Counting(made(LOCAL["strided"])) for _ in range(3))
    undisturbed = exactly([1, 0], EXACT["fitted"], first).run(noise, tmp_path / "undisturbed")
    died.die_at = round(0.8 * first.calls)
    with pytest.raises(KeyboardInterrupt):
        exactly([1, 0], EXACT["fitted"], died).run(noise, tmp_path / "died")
    exactly([1, 0], EXACT["fitted"], again).run(noise, tmp_path / "died", resume=True)
    assert again.calls < 0.8 * first.calls
    for name, one in undisturbed.targets.items():
        assert content(tmp_path / "died" / name) == content(one.output)


def test_a_tile_that_cannot_be_read_counts_once(tmp_path: Path) -> None:
    array = tmp_path / "slide.npy"
    np.save(array, dotted(240, 200, CENTRES))
    faults_of(array).write_text(json.dumps([["worded", 64, 128]]))
    registry = Registry(files=[TROUBLED])
    settings = tables(explain={"target": BOTH}, run={"max_bad_tiles": 1})
    summary = Pipeline(settings, model=RedFinder(), registry=registry).run(array, tmp_path / "out")
    assert len(summary.unreadable) == 1
    for one in summary.targets.values():
        assert (one.output / "unreadable.csv").is_file()
        assert np.isnan(values(one.output)).sum() == 16 * 16


# -- what cannot be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([], r"there is no target in the list\n  got: \[\]"),
        ({}, "there is no target in the list"),
        (["red", "red"], "a target is asked twice\n  got: 'red' and 'red'"),
        (["red", 1], "a target is asked twice\n  got: 'red' and 1"),
        (["1", 1], "a target is asked twice"),
        (["red", "rde"], "unknown target 'rde'"),
        (["red", 2], "target out of range\n  got: 2"),
        ([["red"], "other"], "one target, since a map has one"),
        ([True, 0], "a class index, a label"),
    ],
)
def test_targets_that_cannot_be_are_refused_before_anything_is_written(
    slide: Path, tmp_path: Path, targets: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        pipeline(targets).run(slide, tmp_path / "out.zarr")
    assert list(tmp_path.iterdir()) == []


def test_predicted_may_be_the_same_class(slide: Path, tmp_path: Path) -> None:
    model = RedFinder()
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([-9.0, 9.0]))
    summary = pipeline({"truth": "red", "said": "predicted"}, model).run(slide, tmp_path / "out")
    assert [one.output.name for one in summary.targets.values()] == ["truth", "said"]
    truth, said = (values(one.output) for one in summary.targets.values())
    assert np.array_equal(truth, said, equal_nan=True)


def test_a_list_of_one_target_is_a_list() -> None:
    assert pipeline(["red"]).targets == {"red": "red"}
    assert pipeline("red").targets is None


def test_labels_become_names_of_files(slide: Path, tmp_path: Path) -> None:
    model = RedFinder()
    model.labels = ("a/b ü", "A:B Ü")
    summary = pipeline(list(model.labels), model).run(slide, tmp_path / "out")
    assert list(summary.targets) == ["a_b_ü", "A_B_Ü-2"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["A_B_Ü-2", "a_b_ü"]


def test_callables_are_called_by_their_names() -> None:
    def redness(outputs: torch.Tensor) -> torch.Tensor:
        return outputs[:, 1]

    targets = [redness, lambda outputs: outputs[:, 0], lambda outputs: 2 * outputs[:, 0]]
    assert list(pipeline(targets).targets) == ["redness", "_lambda_", "_lambda_-2"]


def test_an_output_that_is_one_result_is_left_alone(slide: Path, both: Summary, tmp_path: Path) -> None:
    one = both.targets["red"].output
    before = content(one)
    with pytest.raises(UsageError, match="several targets want a folder for their results"):
        pipeline(BOTH).run(slide, one, overwrite=True)
    assert content(one) == before


def test_what_is_there_is_not_overwritten_unasked(slide: Path, both: Summary, tmp_path: Path) -> None:
    output = Path(shutil.copytree(both.output, tmp_path / "both.zarr"))
    (output / "notes.txt").write_text("mine")
    before = content(output)
    with pytest.raises(UsageError, match="the output exists already"):
        pipeline(BOTH).run(slide, output)
    assert content(output) == before
    pipeline(["predicted", "red"]).run(slide, output, overwrite=True)
    after = content(output)
    others = [name for name in before if not name.startswith("red.zarr")]
    assert {name: after[name] for name in others} == {name: before[name] for name in others}
    assert after["red.zarr/COMPLETE"] != before["red.zarr/COMPLETE"]


def test_a_folder_that_cannot_be_made_is_said(slide: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the folder of the results cannot be made"):
        pipeline(BOTH).run(slide, tmp_path / "nowhere" / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="something else is there"):
        pipeline(BOTH).run(slide, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_slide_that_cannot_be_opened_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises((InputError, UsageError)):
        pipeline(BOTH).run(tmp_path / "none.tif", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
