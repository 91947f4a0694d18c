"""Exact runs of methods that compare the slide with other images: these are streamed as it is, and are whole too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import Tensor, nn

import xaipipe
from tests.running.networks import LOCAL, LOCAL_OR_SLOW, Net, made
from tests.running.slides import write_tiled
from tests.running.whole import Counting, content, difference, noise, tables, tiled, whole, whole_pixels
from xaipipe import Batch, ComparingExplainer, Explanation, Grid, Model, Other, hookimpl
from xaipipe.propagation import gradient_with, pull_back
from xaipipe.shares import ShareBatch

LIFT = {"method": "deeplift"}
COLOUR = [0.5, -1.0, 2.0]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiled(tmp_path_factory.mktemp("slide") / "noise.tif", noise())


def said_of_whole(output: Path) -> dict[str, Any]:
    said: dict[str, Any] = zarr.open_group(output, mode="r").attrs["xaipipe"]["findings"]["whole image"]
    return said


@pytest.mark.parametrize("name", LOCAL_OR_SLOW)
def test_differences_equal_the_whole_images_and_are_complete_on_every_network(
    slide: Path, tmp_path: Path, name: str
) -> None:
    net, x = made(LOCAL[name]), whole_pixels()
    got = tiled(net, slide, tmp_path / "out.zarr", tables(LIFT))
    assert difference(got, whole(net, LIFT)) < 1e-12
    with torch.no_grad():
        score, reference_score = (float(net(image)[0, 1]) for image in (x, torch.zeros_like(x)))
    assert abs(score - reference_score) > 1e-3
    assert got.sum() == pytest.approx(score - reference_score, abs=1e-12)
    said = said_of_whole(tmp_path / "out.zarr")
    assert said["score"] == pytest.approx(score, abs=1e-12)
    assert said["compared_with"] == pytest.approx([reference_score], abs=1e-12)
    assert said["map_sum"] == pytest.approx(got.sum(), abs=1e-12)


@pytest.mark.parametrize("name", ["pooling", "channels last", "two poolings"])
def test_what_cancels_is_revealed_as_on_the_whole_image(slide: Path, tmp_path: Path, name: str) -> None:
    net, asked = made(LOCAL[name]), {**LIFT, "rule": "reveal_cancel", "reference": "mean"}
    got = tiled(net, slide, tmp_path / "out.zarr", tables(asked))
    assert difference(got, whole(net, asked)) < 1e-12
    assert difference(got, whole(net, {**asked, "rule": "rescale"})) > 1e-3


def test_the_mean_is_that_of_the_slide_and_not_of_a_tile(slide: Path, tmp_path: Path) -> None:
    net, x = made(LOCAL["strided"]), whole_pixels()
    tiled(net, slide, tmp_path / "out.zarr", tables({**LIFT, "reference": "mean"}))
    reference = torch.from_numpy(np.mean(x.numpy(), axis=(2, 3), keepdims=True)).expand_as(x)
    with torch.no_grad():
        want = float(net(reference)[0, 1])
    assert said_of_whole(tmp_path / "out.zarr")["compared_with"] == pytest.approx([want], abs=1e-12)


def test_the_predicted_class_is_asked_of_the_reference_too(slide: Path, tmp_path: Path) -> None:
    net, x = made(LOCAL["strided"]), whole_pixels()
    asked = {**LIFT, "target": "predicted", "score": "probability", "reference": COLOUR}
    got = tiled(net, slide, tmp_path / "out.zarr", tables(asked))
    want = xaipipe.explain(net, x, **asked)
    assert difference(got, want.values[0].numpy()) < 1e-12
    said = said_of_whole(tmp_path / "out.zarr")
    assert said["compared_with"] == pytest.approx(want.diagnostics["reference_scores"], abs=1e-12)
    assert said["target"] == str(want.targets[0])


class Shares:
    """Notes what the explainer says of every share."""

    def __init__(self) -> None:
        self.seen: list[Explanation] = []

    @hookimpl(wrapper=True)
    def run_stage(self, stage: Any, item: Any, run: Any) -> Any:
        result = yield
        if isinstance(item, ShareBatch):
            self.seen.append(result)
        return result


def test_what_is_said_of_a_share_is_true_of_the_whole(slide: Path, tmp_path: Path) -> None:
    net, asked = made(LOCAL["strided"]), {**LIFT, "references": [COLOUR, [0, 0, 0]]}
    pipeline, shares = xaipipe.Pipeline(tables(asked), model=net), Shares()
    pipeline.registry.hooks.register(shares)
    pipeline.run(slide, tmp_path / "out.zarr")
    want = xaipipe.explain(net, whole_pixels(), target=1, **asked)
    got = zarr.open_group(tmp_path / "out.zarr", mode="r")["heatmap/0"][:]
    assert difference(got, want.values[0].numpy()) < 1e-12
    assert len(shares.seen) > 1
    for one in shares.seen:
        assert "gap" not in one.diagnostics
        assert one.diagnostics["references"] == 2
        assert one.scores.tolist() == pytest.approx(want.scores.tolist() * len(one), abs=1e-12)
        scores = one.diagnostics["reference_scores"]
        assert scores == pytest.approx(want.diagnostics["reference_scores"] * len(one), abs=1e-12)


def test_the_plan_counts_a_pass_for_the_mean(slide: Path) -> None:
    for reference, passes in (("zeros", 2), (COLOUR, 2), ("mean", 3)):
        run = xaipipe.Pipeline(tables({**LIFT, "reference": reference}), model=made(LOCAL["strided"])).prepare(slide)
        run.plan.tiling.slide.close()
        assert run.plan.passes == passes


# -------------------------------------------------------------------------------------------------
# Dying, and going on
# -------------------------------------------------------------------------------------------------


class Reads:
    """Counts what is read for shares, and dies at a read."""

    def __init__(self, die_at: int | None = None) -> None:
        self.count, self._die_at = 0, die_at

    @hookimpl(wrapper=True)
    def run_stage(self, stage: Any, item: Any, run: Any) -> Any:
        if stage.kind == "load" and run.planned:
            self.count += 1
            if self.count == self._die_at:
                raise KeyboardInterrupt
        return (yield)


def run_counting(slide: Path, output: Path, settings: dict[str, Any], reads: Reads, resume: bool = False) -> int:
    pipeline = xaipipe.Pipeline(settings, model=made(LOCAL["strided"]))
    pipeline.registry.hooks.register(reads)
    pipeline.run(slide, output, resume=resume)
    return reads.count


def test_a_run_that_dies_in_the_means_the_poolings_or_the_maps_goes_on_where_it_was(
    slide: Path, tmp_path: Path
) -> None:
    settings = tables({**LIFT, "reference": "mean"}, run={"mode": "exact", "readers": 1})
    undisturbed = run_counting(slide, tmp_path / "straight.zarr", settings, Reads())
    for share in (0.15, 0.5, 0.85):
        output, die_at = tmp_path / f"{share}.zarr", round(share * undisturbed)
        with pytest.raises(KeyboardInterrupt):
            run_counting(slide, output, settings, Reads(die_at))
        again = run_counting(slide, output, settings, Reads(), resume=True)
        assert content(output) == content(tmp_path / "straight.zarr")
        regions, in_flight = 9, 8
        assert die_at + again <= undisturbed * (1 + 1 / regions) + in_flight, f"died at {share}"


def test_a_run_that_dies_while_a_reference_is_met_goes_on_where_it_was(slide: Path, tmp_path: Path) -> None:
    """Image and references go through the model in turn: three passes a batch."""
    settings = tables({**LIFT, "references": [COLOUR, [0, 0, 0]]}, run={"mode": "exact", "readers": 1})
    planning = Counting(made(LOCAL["strided"]))
    xaipipe.Pipeline(settings, model=planning).prepare(slide).plan.tiling.slide.close()
    xaipipe.Pipeline(settings, model=Counting(made(LOCAL["strided"]))).run(slide, tmp_path / "straight.zarr")
    for further in (2, 3, 30):
        output, dying = tmp_path / f"{further}.zarr", Counting(made(LOCAL["strided"]), planning.calls + further)
        with pytest.raises(KeyboardInterrupt):
            xaipipe.Pipeline(settings, model=dying).run(slide, output)
        xaipipe.Pipeline(settings, model=Counting(made(LOCAL["strided"]))).run(slide, output, resume=True)
        assert content(output) == content(tmp_path / "straight.zarr")


def test_a_run_that_was_finished_says_the_same_when_it_is_looked_over(slide: Path, tmp_path: Path) -> None:
    settings = tables(LIFT)
    run_counting(slide, tmp_path / "out.zarr", settings, Reads())
    before = content(tmp_path / "out.zarr")
    assert run_counting(slide, tmp_path / "out.zarr", settings, Reads(), resume=True) == 0
    assert content(tmp_path / "out.zarr") == before


# -------------------------------------------------------------------------------------------------
# Bad input
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"reference": "blurred"}, r"cannot be made of parts[\s\S]*'blurred'[\s\S]*'mean'[\s\S]*or a colour"),
        ({"reference": [0.0, 1.0]}, r"does not fit the channels[\s\S]*2 numbers[\s\S]*3: one a channel"),
        ({"references": [[0.0], [1.0]]}, r"does not fit the channels[\s\S]*1 numbers"),
        ({"references": [[0.0, 0.0, 0.0], [1.0]]}, "each with as many numbers"),
        ({"reference": torch.zeros(3, 64, 64)}, "a tensor is for certain images"),
    ],
)
def test_references_that_a_slide_cannot_have_are_refused(
    slide: Path, tmp_path: Path, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(xaipipe.UsageError, match=says):
        tiled(made(LOCAL["strided"]), slide, tmp_path / "out.zarr", tables({**LIFT, **asked}))
    assert not (tmp_path / "out.zarr").exists()


class Logarithm(nn.Module):
    """Infinite at 7, which no pixel of the slide is."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - 7).abs().log()


def test_a_reference_without_a_score_is_refused_while_planning(slide: Path, tmp_path: Path) -> None:
    net = made(lambda: Net(nn.Sequential(Logarithm(), nn.Conv2d(3, 8, 3, 2))))
    with pytest.raises(xaipipe.InputError, match=r"NaN or infinity for the reference"):
        tiled(net, slide, tmp_path / "out.zarr", tables({**LIFT, "reference": [7, 7, 7]}))
    assert not (tmp_path / "out.zarr").exists()


# -------------------------------------------------------------------------------------------------
# Another method
# -------------------------------------------------------------------------------------------------


class Along(ComparingExplainer):
    """Integrated gradients in a few lines, from half the mean of the image's squares: all that such a method needs."""

    name = "along"
    alphas = (0.1, 0.5, 0.9)

    def survey(self) -> Callable[[Tensor], Tensor]:
        return lambda pixels: pixels.double().square().sum(dim=(2, 3))

    def others(self, batch: Batch, means: Tensor | None) -> Iterator[Tensor]:
        assert means is not None
        reference = (means / 2)[:, :, None, None].to(batch.pixels).expand_as(batch.pixels)
        yield reference
        for alpha in self.alphas:
            yield reference + alpha * (batch.pixels - reference)

    def compared(self, batch: Batch, model: Model, others: Iterable[Other]) -> Explanation:
        with torch.no_grad():
            chosen = model.score(batch.pixels, self.params.question)
        found = [
            (pixels, pull_back(as_met, pixels, [chosen.settled], gradient_with())[0].values)
            for pixels, as_met in others
        ]
        (reference, _), *points = found
        gradient = torch.stack([gradient for _, gradient in points]).mean(dim=0)
        values = (batch.pixels - reference) * gradient
        return Explanation(values, Grid(), chosen.targets, chosen.scores, tuple(values.shape[2:]), tiles=batch.tiles)


def pipeline_of(method: type[ComparingExplainer], net: nn.Module, **changes: Any) -> xaipipe.Pipeline:
    registry = xaipipe.Registry()
    registry._methods["explain", method.name] = (method, "test")
    return xaipipe.Pipeline(tables({"method": method.name}, **changes), model=net, registry=registry)


@pytest.mark.parametrize("name", ["TensorFlow's SAME", "two poolings"])
def test_a_method_with_points_on_the_way_needs_nothing_more(slide: Path, tmp_path: Path, name: str) -> None:
    net, x = made(LOCAL[name]), whole_pixels()
    pipeline_of(Along, net).run(slide, tmp_path / "out.zarr")
    got = zarr.open_group(tmp_path / "out.zarr", mode="r")["heatmap/0"][:]
    reference = x.square().mean(dim=(2, 3), keepdim=True).expand_as(x) / 2
    gradients = []
    for alpha in Along.alphas:
        point = (reference + alpha * (x - reference)).requires_grad_()
        gradients += torch.autograd.grad(net(point)[0, 1], point)
    want = ((x - reference) * sum(gradients) / len(gradients))[0].numpy()
    assert difference(got, want) < 1e-12
    assert len(said_of_whole(tmp_path / "out.zarr")["compared_with"]) == 1 + len(Along.alphas)
    explained = xaipipe.Explainer.asking(Along(), xaipipe.Question(1)).explain(_whole_batch(x), Model.of(net))
    assert difference(explained.values[0].numpy(), want) < 1e-12


def _whole_batch(x: Tensor) -> Batch:
    return Batch((), x, torch.ones(1, *x.shape[2:], dtype=torch.bool))


class Smaller(Along):
    name = "smaller"

    def others(self, batch: Batch, means: Tensor | None) -> Iterator[Tensor]:
        return (other[:, :, 1:] for other in super().others(batch, means))


class Dark(Along):
    """Does not look at the images that it wants."""

    name = "dark"

    def others(self, batch: Batch, means: Tensor | None) -> Iterator[Tensor]:
        yield torch.full_like(batch.pixels, 7)

    def compared(self, batch: Batch, model: Model, others: Iterable[Other]) -> Explanation:
        return super().compared(batch, model, [Other(batch.pixels, model)] * 2)


def test_images_that_are_unlike_the_pixels_are_refused(slide: Path, tmp_path: Path) -> None:
    with pytest.raises(xaipipe.BoundaryError, match=r"'smaller' compares with an image that is unlike the pixels"):
        pipeline_of(Smaller, made(LOCAL["strided"])).run(slide, tmp_path / "out.zarr")


def test_an_image_without_a_score_is_refused_when_the_head_is_met(slide: Path, tmp_path: Path) -> None:
    net = made(lambda: Net(nn.Sequential(Logarithm(), nn.Conv2d(3, 8, 3, 2))))
    with pytest.raises(xaipipe.InputError, match=r"NaN or infinity for an image that the slide is compared with"):
        pipeline_of(Dark, net).run(slide, tmp_path / "out.zarr")
