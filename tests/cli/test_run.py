"""`xaipipe run`: a slide, a configuration, a store; and the plan before it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

Cli = Callable[..., Any]


@pytest.fixture
def run(cli: Cli, slide_file: Path, run_file: Path) -> Cli:
    return lambda *arguments: cli("run", slide_file, "--config", run_file, "--trust", *arguments)


def test_a_run_writes_a_map_of_the_whole_slide(run: Cli) -> None:
    answer = run("-o", "out.zarr")
    assert answer.code == 0, answer.err
    heatmap = np.asarray(zarr.open_array("out.zarr/heatmap/0"))
    assert heatmap.shape == (1, 40, 56)
    assert np.isfinite(heatmap).all()
    assert zarr.open_group("out.zarr").attrs["xaipipe"]["complete"] is True


def test_people_read_the_plan_on_stderr_and_the_summary_on_stdout(run: Cli) -> None:
    answer = run("-o", "out.zarr")
    assert "stages   load → gradcam → store" in answer.err
    assert "35 of 32 px; 0 background skipped" in answer.err
    assert "done     35 tiles in 12 regions" in answer.out


def test_machines_read_one_object(cli: Cli, slide_file: Path, run_file: Path) -> None:
    answer = cli("--json", "run", slide_file, "--config", run_file, "--trust", "-o", "out.zarr")
    facts = json.loads(answer.out)
    assert (facts["tiles"], facts["regions"], facts["output"]) == (35, 12, "out.zarr")
    assert facts["bytes"] > 0


@pytest.fixture
def with_gaps(run_file: Path) -> None:
    """A method that looks at too few points of the way to hold what it promises."""
    method = 'method = "integrated_gradients"\nscore = "probability"\nsteps = 1\nquadrature = "riemann_left"'
    run_file.write_text(run_file.read_text().replace('method = "gradcam"', method))


@pytest.mark.usefixtures("with_gaps")
def test_what_maps_say_of_themselves_is_told_in_the_summary_and_not_in_between(run: Cli) -> None:
    answer = run("-o", "out.zarr")
    assert answer.code == 0
    (row,) = [line for line in answer.out.splitlines() if line.startswith("maps")]
    assert re.search(r"maps +completeness_gap \S+ \(\S+ … \S+\), reference_scores \S+, scores \S+ .*, steps 1", row)
    said = re.findall(r"doubtful +integrated_gradients: the map of slide.tif level 0 y=.* a gap of", answer.out)
    assert len(said) == 1
    assert re.search(r"tiles: [1-9][0-9]* of 35 are doubtful in this way; this is the worst", answer.out)
    assert "integrated_gradients: the map" not in answer.err


@pytest.mark.usefixtures("with_gaps")
def test_machines_read_what_maps_say_of_themselves(cli: Cli, slide_file: Path, run_file: Path) -> None:
    command = ("--json", "run", slide_file, "--config", run_file, "--trust")
    facts = json.loads(cli(*command, "-o", "out.zarr").out)["diagnostics"]
    assert facts == zarr.open_group("out.zarr").attrs["xaipipe"]["diagnostics"]
    assert facts["doubts"][0]["kind"] == "integrated_gradients: a gap to the difference"
    (text,) = json.loads(cli(*command, "--dry-run").out)["doubts_of_sample"]
    assert "take more than 1 steps" in text


@pytest.mark.usefixtures("with_gaps")
def test_a_dry_run_says_what_is_doubtful_of_the_sample(run: Cli) -> None:
    answer = run("--dry-run")
    assert answer.out.count("take more than 1 steps") == 1
    assert "warning" not in answer.err.lower()


@pytest.mark.parametrize("output", [[], ["-o", "out.zarr"]])
def test_a_dry_run_prints_the_plan_and_writes_nothing(
    run: Cli, tmp_path: Path, snapshot: Callable[[Path], Any], output: list[str]
) -> None:
    before = snapshot(tmp_path)
    answer = run("--dry-run", *output)
    assert answer.code == 0
    assert "35 of 32 px" in answer.out
    after = {name: data for name, data in snapshot(tmp_path).items() if name != "was-run" and "pycache" not in name}
    assert after == before
    assert not Path("out.zarr").exists()


def test_a_dry_run_as_json(cli: Cli, slide_file: Path, run_file: Path) -> None:
    facts = json.loads(cli("--json", "run", slide_file, "--config", run_file, "--trust", "--dry-run").out)
    assert (facts["pixels"], facts["map"], facts["cell"]) == ([160, 224], [1, 40, 56], 4)


def test_settings_reach_every_stage(run: Cli) -> None:
    settings = ["postprocess.0.method=smooth", "postprocess.0.sigma=2", "segment.0.method=threshold", "load.batch=3"]
    answer = run("-o", "out.zarr", *(text for setting in settings for text in ("--set", setting)))
    assert answer.code == 0, answer.err
    kept = zarr.open_group("out.zarr").attrs["xaipipe"]
    assert kept["settings"]["postprocess"] == [{"method": "smooth", "sigma": 2}]
    assert "threshold" in kept["findings"]["threshold"]
    assert not np.array_equal(zarr.open_array("out.zarr/raw/0")[:], zarr.open_array("out.zarr/heatmap/0")[:])


def test_the_manifest_says_how_it_was_made(run: Cli) -> None:
    assert run("-o", "out.zarr").code == 0
    kept = zarr.open_group("out.zarr").attrs["xaipipe"]
    assert kept["model"]["source"] == "model.py:build"
    assert kept["preprocess"]["size"] == 32
    assert kept["settings"]["explain"] == {"method": "gradcam", "target": 1}
    assert kept["plugins"]["cam"].startswith("xaipipe ")


def test_a_run_without_an_output_is_refused_before_the_model_runs(run: Cli, model_file: Path) -> None:
    answer = run()
    assert (answer.code, answer.err) == (2, "error: no output is given\n  expected: -o NAME.zarr\n")
    assert not model_file.with_name("was-run").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("load.tile=4", "parameter 'tile' has a value that it cannot take\n  got: 4"),
        ("load.overlap=7", "overlap is read half on each side\n  got: 7\n  expected: an even number of pixels"),
        ("load.overlap=64", "overlap leaves nothing of the tile"),
        ("load.overlap=2", "overlap / 2 is not a multiple of the map's cells"),
        ("postprocess.0.method=smoth", "there is no postprocess method 'smoth'\n  next: did you mean 'smooth'?"),
        ("segment.0.method=gradcam", "'gradcam' is a explain method\n  expected: a segment method"),
        (
            "store.shrad=64",
            "unknown parameter 'shrad'\n  where: [store] method 'ome_zarr'\n  next: did you",
        ),
        ("explain.target=brid", "unknown target 'brid'"),
        ("explain.layer=2.5", "parameter 'layer' has a value that it cannot take\n  got: 2.5"),
        ("run.device=cuda:99", "there is no such GPU\n  got: cuda:99"),
        ("postprocess=smooth", "--set wants table.key=value"),
    ],
)
def test_a_setting_that_is_off_is_a_usage_error_and_nothing_is_written(run: Cli, setting: str, message: str) -> None:
    answer = run("-o", "out.zarr", "--set", setting)
    assert answer.code == 2
    assert f"error: {message}" in answer.err
    assert not Path("out.zarr").exists()


def test_a_slide_without_a_resolution_cannot_be_matched_to_the_models(run: Cli) -> None:
    settings = ["preprocess.size=32", "preprocess.mean=[0,0,0]", "preprocess.std=[1,1,1]", "preprocess.mpp=0.5"]
    answer = run("-o", "out.zarr", *(text for setting in settings for text in ("--set", setting)))
    assert answer.code == 65
    assert (
        "the slide does not say its own\n  expected: a slide that says its µm per pixel; the model wants 0.5"
        in answer.err
    )
    assert "next: give it: --mpp 0.25, or [load] mpp = 0.25" in answer.err
    assert not Path("out.zarr").exists()


def test_the_resolution_can_be_given_and_stays_with_the_result(cli: Cli, run: Cli, tmp_path: Path) -> None:
    answer = run("-o", "out.zarr", "--mpp", "0.25", "--set", "load.tissue=off")
    assert answer.code == 0, answer.err
    assert "level 0 at 0.25 µm per pixel" in answer.err
    assert "note     its resolution was given as 0.25 µm per pixel; the file does not say" in answer.err
    root = zarr.open_group("out.zarr", mode="r")
    assert root.attrs["xaipipe"]["settings"]["load"] == {"tile": 32, "tissue": "off", "mpp": 0.25}
    scale = root["heatmap"].attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == [1.0, 1.0, 1.0]  # cells of 4 pixels
    (tmp_path / "out.zarr" / "heatmap" / "0" / "c" / "0" / "0" / "0").unlink()
    answer = cli("verify", "out.zarr", "--repair", "--trust")
    assert answer.code == 0, answer.err
    assert "level 0 at 0.25 µm per pixel" in answer.err


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf"])
def test_a_resolution_that_cannot_be_is_a_usage_error(run: Cli, given: str) -> None:
    answer = run("-o", "out.zarr", f"--mpp={given}")
    assert answer.code == 2
    assert "parameter 'mpp' has a value that it cannot take" in answer.err


def test_machines_read_the_resolution_and_the_notes(cli: Cli, slide_file: Path, run_file: Path) -> None:
    facts = json.loads(cli("--json", "run", slide_file, "--config", run_file, "--trust", "--dry-run", "--mpp", 2).out)
    assert facts["mpp"] == 2.0
    assert facts["notes"] == ["its resolution was given as 2 µm per pixel; the file does not say"]
