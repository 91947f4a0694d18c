"""Hooks: each is described, and each really fires."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import zarr

from xaipipe import InputError, Level, Pipeline, Postprocessor, Registry, Slide, Stage, hookimpl, hookspecs
from xaipipe.cli.main import build_app
from xaipipe.cli.progress import progress_of
from xaipipe.cli.session import Session
from xaipipe.running.run import Run
from xaipipe.slides import open_slide

HOOKS = {name: spec for name, spec in vars(hookspecs).items() if hasattr(spec, "xaipipe_spec")}
TESTED = {
    "open_slide",
    "open_url",
    "provenance",
    "report_header",
    "run_finished",
    "run_pipeline",
    "run_stage",
    "xaipipe_commands",
    "xaipipe_methods",
}


def test_every_hook_has_a_test_here() -> None:
    assert set(HOOKS) == TESTED


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_a_hooks_docstring_says_when_it_fires_and_how_many_answers_count(name: str) -> None:
    text = " ".join((inspect.getdoc(HOOKS[name]) or "").split())
    assert "Fires " in text
    first_only = HOOKS[name].xaipipe_spec["firstresult"]
    if first_only:
        assert "the first answer" in text
    else:
        assert "every plugin" in text or "all dictionaries" in text


@pytest.fixture
def pipeline(run_file: Path) -> Pipeline:
    return Pipeline.from_toml(run_file, trust=True)


def with_hook(pipeline: Pipeline, plugin: object) -> Pipeline:
    pipeline.registry.hooks.register(plugin)
    return pipeline


def test_xaipipe_methods_brings_methods(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from xaipipe import Postprocessor, hookimpl\n"
        "class Twice(Postprocessor):\n    name = 'twice'\n    def apply(self, e): return e\n"
        "@hookimpl\ndef xaipipe_methods(): return (m for m in [Twice])\n"
    )
    assert issubclass(Registry(files=[path]).method("postprocess", "twice"), Postprocessor)


def test_xaipipe_commands_adds_a_command(registry: Registry) -> None:
    class Plugin:
        @hookimpl
        def xaipipe_commands(self, app: typer.Typer) -> None:
            app.command("hello")(lambda: print("hello from a plugin"))

    plugin = Plugin()
    registry.hooks.register(plugin)
    try:
        assert "hello" in [command.name for command in build_app(registry).registered_commands]
    finally:
        registry.hooks.unregister(plugin)


class Grey(Slide):
    """A slide without a file format."""

    mpp = None
    fingerprint = "grey"
    levels = (Level(64, 64, 1.0),)

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray:
        return np.full((h, w, 3), 128, np.uint8)


class GreyReader:
    @hookimpl
    def open_slide(self, path: Path) -> Slide | None:
        return Grey(path) if path.suffix == ".grey" else None


def test_open_slide_takes_the_first_answer(tmp_path: Path) -> None:
    registry = Registry()
    registry.hooks.register(GreyReader())
    (tmp_path / "a.grey").write_text("nothing")
    assert isinstance(open_slide(registry, tmp_path / "a.grey"), Grey)


def test_open_url_takes_the_first_answer_and_files_never_reach_it(tmp_path: Path) -> None:
    class Plugin:
        @hookimpl(tryfirst=True)
        def open_url(self, url: str) -> Slide | None:
            return Grey(Path("a.grey")) if url == "grey://somewhere//deep" else None

    registry = Registry()
    registry.hooks.register(Plugin())
    assert isinstance(open_slide(registry, "grey://somewhere//deep"), Grey)
    with pytest.raises(InputError, match="no reader knows this file\n  got: nothing, or nothing that"):
        open_slide(registry, "grey://elsewhere")
    with pytest.raises(InputError, match="there is no such file"):
        open_slide(registry, tmp_path / "grey")


def test_report_header_is_printed_above_the_progress(
    pipeline: Pipeline, slide_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Plugin:
        @hookimpl
        def report_header(self, run: Run) -> list[str]:
            return [f"will explain {run.plan.tiles} tiles", "[brackets] stay"]

    run = with_hook(pipeline, Plugin()).prepare(slide_file)
    with progress_of(Session(pipeline.registry, False), run):
        pass
    run.plan.tiling.slide.close()
    assert f"will explain {run.plan.tiles} tiles\n[brackets] stay\n" in capsys.readouterr().err


def test_run_pipeline_is_replaced_by_a_plugin(pipeline: Pipeline, slide_file: Path, tmp_path: Path) -> None:
    seen = []

    class Elsewhere:
        @hookimpl
        def run_pipeline(self, run: Run) -> bool:
            seen.append(run)
            return True

    summary = with_hook(pipeline, Elsewhere()).run(slide_file, tmp_path / "out.zarr")
    assert len(seen) == 1
    assert summary.bytes_written == 0


def test_a_wrapper_of_run_stage_sees_every_stage(run_file: Path, slide_file: Path, tmp_path: Path) -> None:
    kinds: list[str] = []

    class Watch:
        @hookimpl(wrapper=True)
        def run_stage(self, stage: Stage, item: Any, run: Run) -> Any:
            kinds.append(stage.kind)
            return (yield)

    pipeline = Pipeline.from_toml(run_file, ["postprocess.0.method=relu", "segment.0.method=threshold"], trust=True)
    with_hook(pipeline, Watch()).run(slide_file, tmp_path / "out.zarr")
    assert set(kinds) == {"load", "explain", "postprocess", "segment", "store"}


def test_run_stage_is_replaced_by_a_plugin(pipeline: Pipeline, slide_file: Path, tmp_path: Path) -> None:
    class Zeros:
        @hookimpl(wrapper=True)
        def run_stage(self, stage: Stage, item: Any, run: Run) -> Any:
            result = yield
            return result.replace(values=result.values * 0) if stage.kind == "explain" else result

    with_hook(pipeline, Zeros()).run(slide_file, tmp_path / "out.zarr")
    assert not np.asarray(zarr.open_array(tmp_path / "out.zarr" / "heatmap" / "0")).any()


def test_provenance_reaches_the_manifest(pipeline: Pipeline, slide_file: Path, tmp_path: Path) -> None:
    class Plugin:
        @hookimpl
        def provenance(self, run: Run) -> dict[str, Any]:
            return {"laboratory": {"name": "ours", "where": Path("bench")}}

    with_hook(pipeline, Plugin()).run(slide_file, tmp_path / "out.zarr")
    kept = zarr.open_group(tmp_path / "out.zarr").attrs["xaipipe"]
    assert kept["laboratory"] == {"name": "ours", "where": "bench"}


def test_run_finished_sees_the_summary_after_the_manifest_was_written(
    pipeline: Pipeline, slide_file: Path, tmp_path: Path
) -> None:
    seen = []

    class Plugin:
        @hookimpl
        def run_finished(self, run: Run, summary: Any) -> None:
            seen.append((summary, zarr.open_group(summary.output).attrs["xaipipe"]["complete"]))

    summary = with_hook(pipeline, Plugin()).run(slide_file, tmp_path / "out.zarr")
    assert seen == [(summary, True)]
