"""The whole way from a slide to a result on disk."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from xaipipe.array_slide import ArraySlide
from xaipipe.config import Config, read_toml, with_settings
from xaipipe.doubts import listening
from xaipipe.errors import ExplanationWarning, UsageError
from xaipipe.models.model import Model, as_found
from xaipipe.models.sources import load_model
from xaipipe.models.weight_cache import WeightCache
from xaipipe.outputs import folder_of_results
from xaipipe.reading.opening import open_guarded
from xaipipe.registry import Registry
from xaipipe.running import diagnostics
from xaipipe.running.checks import StageChecks, named_failures
from xaipipe.running.diagnostics import Diagnostics
from xaipipe.running.local import LocalExecutor
from xaipipe.running.manifest import manifest_of, record_of
from xaipipe.running.planning import make_run
from xaipipe.running.run import Redone, Run
from xaipipe.running.timing import StageTiming
from xaipipe.several import build_each, place_of
from xaipipe.stages import Store
from xaipipe.types import Instance, Slide, Unreadable
from xaipipe.wrapped import Lent

Source = str | Path | Slide | np.ndarray[Any, Any]


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    output: Path
    regions: int
    tiles: int
    skipped: int
    seconds: float
    stage_seconds: Mapping[str, float]
    findings: Mapping[str, Mapping[str, Any]]
    instances: tuple[Instance, ...] = field(repr=False)
    redone: tuple[Redone, ...] = field(repr=False)
    """Of a resumed run: what was computed, and why."""
    bytes_written: int
    notes: tuple[str, ...]
    """What whoever started the run should know, such as batches that did not fit into memory."""
    unreadable: tuple[Unreadable, ...] = field(repr=False)
    """What of the slide could not be read, and is left out of the result."""
    diagnostics: Diagnostics | None = field(repr=False)
    """What the maps of all tiles say of themselves; None in an exact run."""
    targets: Mapping[str, Summary] = field(default_factory=dict)
    """Where a run was asked several targets: each one's own, by the name of its result. Findings, instances and
    diagnostics are there alone, and `output` is the folder of all."""


class Pipeline:
    """Stages from a configuration, ready for any number of slides.

    >>> pipeline = Pipeline.from_toml("run.toml", trust=True)
    >>> pipeline.run("slide.svs", "slide.zarr")
    """

    def __init__(
        self,
        tables: Mapping[str, Any],
        *,
        model: Model | nn.Module | None = None,
        registry: Registry | None = None,
        base: Path | None = None,
        trust: bool = False,
    ) -> None:
        self.registry = registry or Registry()
        self._add_core_hooks()
        self.configs = build_each(tables, self.registry, base)
        self.config: Config = next(iter(self.configs.values()))
        """Of the first target where there are several."""
        self._given = Model.of(model) if isinstance(model, nn.Module) else model
        self._trust = trust
        if self._given is None and self.config.model is None:
            raise UsageError("no model is given", expected="a [model] table, or model= from Python")

    @classmethod
    def from_toml(cls, path: str | Path, settings: Iterable[str] = (), **options: Any) -> Pipeline:
        """From a file; `settings` are `table.key=value`. Paths in the file are relative to the file."""
        path = Path(path)
        return cls(with_settings(read_toml(path), settings), base=path.resolve().parent, **options)

    @property
    def targets(self) -> dict[str, Any] | None:
        """Several targets by the names of their results; None where one is asked."""
        asked = {name: config.explainer.params.target for name, config in self.configs.items()}
        return None if None in asked else {str(name): target for name, target in asked.items()}

    def prepare(self, slide: Source) -> Run:
        """Open the slide, load the model and plan: everything that can go wrong before the long work.

        A file or a URL is read in processes of its own; an array, or a `Slide` that is lent, as it is.
        """
        handle = self._slide(slide)
        try:
            model = replace(self._model(), weights=WeightCache())
            with as_found(model.module), listening() as heard:
                run = make_run(self.configs, self.registry, model, handle)
            run.doubts = tuple(one.text for one in diagnostics.of_doubts(heard.doubts, ()).doubts)
            return run
        except BaseException:
            handle.close()
            raise

    def run(self, slide: Source, output: str | Path, *, overwrite: bool = False, resume: bool = False) -> Summary:
        """Explain a slide into a store. An output that is not ours is never overwritten.

        The slide is a path, a URL, an array uint8[H, W, 3], or a `Slide`, which is left open.
        With `resume` it goes on with what an earlier run of the same plan committed. Of several targets each has a
        result of its own, in the folder `output`.
        """
        with self.claimed(output, overwrite=overwrite, resume=resume):
            return self.execute(self.prepare(slide), resume=resume)

    @contextmanager
    def claimed(self, output: str | Path, *, overwrite: bool = False, resume: bool = False) -> Iterator[None]:
        """Hold an output against other runs; refuse it before anything is loaded."""
        with ExitStack() as held:
            if None not in self.configs:
                held.enter_context(folder_of_results(Path(output)))
            places = [(config.store, place_of(Path(output), name)) for name, config in self.configs.items()]
            for (store, place), is_begun in zip(places, _begun(places), strict=True):
                held.callback(store.release)
                store.claim(place, overwrite, resume and is_begun)
            yield

    def execute(self, run: Run, *, resume: bool = False) -> Summary:
        """Carry out a prepared run; its output must have been claimed."""
        stores = [one.config.store for one in run.every]
        for one, is_begun in zip(run.every, _begun([(store, store.output) for store in stores]), strict=True):
            one.resumed = resume and is_begun
        with closing(run.plan.tiling.slide):
            started = time.perf_counter()
            self._work(run)
            summaries = [self._finish(one, started) for one in run.every]
        for summary in summaries:
            for text in summary.diagnostics.warnings() if summary.diagnostics else ():
                warnings.warn(text, ExplanationWarning, stacklevel=3)
        return summaries[0] if run.name is None else _together(run, summaries)

    def _work(self, run: Run) -> None:
        for one in run.every:
            one.seconds.clear()  # of the sample that the plan was made from
            begin = one.config.store.reopen if one.resumed else one.config.store.create
            begin(run.plan.layout, run.plan.tiling.slide.original, record_of(one, self.targets))
        with as_found(run.model.module):
            self.registry.hooks.hook.run_pipeline(run=run)

    def _finish(self, run: Run, started: float) -> Summary:
        store = run.config.store
        findings, instances = found_by(run)
        unreadable = store.unreadable()
        said = diagnostics.kept(store, (planned.region for planned in run.plan.regions))
        store.finish(manifest_of(run, findings, len(unreadable), said), instances)
        summary = Summary(
            output=Path(store.output),
            regions=len(run.plan.regions),
            tiles=run.plan.tiles,
            skipped=run.plan.skipped,
            seconds=time.perf_counter() - started,
            stage_seconds=dict(run.seconds),
            findings=findings,
            instances=instances,
            redone=tuple(run.redone),
            bytes_written=sum(receipt.bytes for receipt in run.receipts),
            notes=tuple(run.notes),
            unreadable=unreadable,
            diagnostics=said,
        )
        self.registry.answers("run_finished", run=run, summary=summary)
        return summary

    def _slide(self, slide: Source) -> Slide:
        if isinstance(slide, np.ndarray):
            return ArraySlide(slide)
        return Lent(slide) if isinstance(slide, Slide) else open_guarded(self.registry, slide, self.config.run)

    def _model(self) -> Model:
        if self._given is not None:
            return self._given
        assert self.config.model is not None
        model = load_model(self.config.model, trust=self._trust, base=self.config.base)
        model.module.to(chosen_device(self.config.run.device))
        self._given = model
        return model

    def _add_core_hooks(self) -> None:
        for name, plugin in (
            ("local", LocalExecutor()),
            ("checks", StageChecks()),
            ("timing", StageTiming()),
        ):
            if not self.registry.hooks.has_plugin(f"xaipipe.{name}"):
                self.registry.hooks.register(plugin, name=f"xaipipe.{name}")


def _begun(places: Sequence[tuple[Store, Path]]) -> list[bool]:
    """Which results a resumed run goes on with; of several, one may be missing that the run before did not get to."""
    begun = [store.begun(place) for store, place in places]
    return begun if any(begun) else [True] * len(begun)


def _together(run: Run, each: Sequence[Summary]) -> Summary:
    """What a run over several targets did."""
    seconds: Counter[str] = Counter()
    for summary in each:
        seconds.update(summary.stage_seconds)
    return replace(
        each[-1],
        output=each[0].output.parent,
        stage_seconds=dict(seconds),
        findings={},
        instances=(),
        redone=tuple(one for summary in each for one in summary.redone),
        bytes_written=sum(summary.bytes_written for summary in each),
        notes=each[0].notes,
        unreadable=tuple(dict.fromkeys(one for summary in each for one in summary.unreadable)),
        diagnostics=None,
        targets={str(one.name): summary for one, summary in zip(run.every, each, strict=True)},
    )


def found_by(run: Run) -> tuple[dict[str, Mapping[str, Any]], tuple[Instance, ...]]:
    """What the segmenters found on the whole slide: a few numbers each, and the objects."""
    fitted = [(stage, run.fitted.get(stage)) for stage in run.config.segmenters]
    findings: dict[str, Mapping[str, Any]] = {"whole image": run.explained} if run.explained else {}
    instances: list[Instance] = []
    for stage, state in fitted:
        with named_failures(stage, None):
            if facts := stage.findings(state):
                findings[stage.name] = facts
            instances.extend(stage.instances(state))
    return findings, tuple(instances)


def chosen_device(name: str) -> torch.device:
    """The device a setting names; `auto` is the GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device: torch.device | None
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError("unknown device", got=name, expected="auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError("there is no such GPU", got=name, expected=f"{torch.cuda.device_count()} GPUs were found")
    return device
