"""`xaipipe explain`: one photograph, from flags or a file, to a picture or raw values."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

import xaipipe
from xaipipe import Model, Preprocess
from xaipipe.models.sources import ModelSettings, load_model

Cli = Callable[..., Any]
CODE = ["--model", "model.py:build", "--trust"]


@pytest.fixture
def explain(cli: Cli, photograph: Path, model_file: Path) -> Cli:
    return lambda *arguments: cli("explain", photograph, *CODE, *arguments)


def loaded(model_file: Path) -> Model:
    return load_model(ModelSettings(source=model_file.name + ":build"), trust=True, base=model_file.parent)


def test_a_png_is_the_photograph_with_the_map_over_it(explain: Cli, tmp_path: Path) -> None:
    answer = explain("-o", tmp_path / "out.png")
    assert answer.code == 0, answer.err
    assert imagecodecs.png_decode((tmp_path / "out.png").read_bytes()).shape == (32, 32, 3)
    assert "target" in answer.out


def test_an_npz_holds_raw_values_and_their_grid(explain: Cli, tmp_path: Path, model_file: Path, rgb: Any) -> None:
    assert explain("--target", "dog", "-o", tmp_path / "out.npz").code == 0
    kept = np.load(tmp_path / "out.npz")
    preprocess = Preprocess(size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    pixels = preprocess.normalise(preprocess.fit_photograph(rgb))[None]
    expected = xaipipe.explain(loaded(model_file), pixels, target=1)
    assert np.allclose(kept["values"], expected.values.numpy())
    assert tuple(kept["scale"]) == expected.grid.scale
    assert tuple(kept["offset"]) == expected.grid.offset
    assert str(kept["xaipipe"]) == "0.1.0"


def test_without_a_name_the_output_is_called_after_image_and_method(explain: Cli, tmp_path: Path) -> None:
    assert explain().code == 0
    assert (tmp_path / "photograph-gradcam.png").is_file()


def test_what_is_said_is_not_cut_in_two(explain: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    path = tmp_path / f"{'long-' * 10}name.png"
    assert f"  output  {path}\n" in explain("-o", path).out


def test_json_says_target_label_score_and_geometry(cli: Cli, photograph: Path, model_file: Path) -> None:
    facts = json.loads(cli("--json", "explain", photograph, *CODE, "--target", "2", "-o", "out.png").out)
    assert (facts["target"], facts["label"], facts["layer"]) == (2, "bird", "3")
    assert (facts["cells"], facts["scale"], facts["offset"]) == ([1, 8, 8], [4.0, 4.0], [0.0, 0.0])
    assert facts["output"] == "out.png"


@pytest.mark.parametrize(
    "arguments",
    [
        ["IMAGE", "--layer", "2", "--signed"],
        ["--layer", "2", "IMAGE", "--signed"],
        ["--signed", "IMAGE", "--layer=2"],
        ["--layer=2", "--signed", "true", "IMAGE"],
        ["--trust", "--signed", "--layer", "2", "-o", "out.npz", "IMAGE"],
    ],
)
def test_the_methods_flags_may_stand_before_or_after_the_image(
    cli: Cli, photograph: Path, model_file: Path, arguments: list[str]
) -> None:
    placed = [str(photograph) if argument == "IMAGE" else argument for argument in arguments]
    answer = cli("--json", "explain", *placed, *CODE, *([] if "-o" in placed else ["-o", "out.npz"]))
    assert answer.code == 0, answer.out
    assert json.loads(answer.out)["layer"] == "2"
    assert (np.load("out.npz")["values"] < 0).any()


def test_a_probability_is_said_beside_the_score(cli: Cli, photograph: Path, model_file: Path) -> None:
    facts = json.loads(cli("--json", "explain", photograph, *CODE, "--score", "probability").out)
    assert facts["score is"] == "probability"
    assert 0 < facts["score"] < 1
    assert json.loads(cli("--json", "explain", photograph, *CODE, "--overwrite").out)["score is"] == "logit"


def test_one_of_several_outputs_is_chosen(cli: Cli, photograph: Path, model_file: Path) -> None:
    model_file.write_text(
        model_file.read_text().replace(
            "    return net\n",
            "    class Both(nn.Module):\n"
            "        def __init__(self):\n"
            "            super().__init__()\n"
            "            self.net = net\n"
            "        def forward(self, x):\n"
            "            return {'logits': self.net(x), 'maps': self.net[:3](x)}\n"
            "    return Both()\n",
        )
    )
    refused = cli("explain", photograph, *CODE)
    assert refused.code == 2
    assert "error: the model returns several outputs\n  got: logits: (1, 3); maps: (1, 8, 8, 8)\n" in refused.err
    common = ["--json", "explain", photograph, *CODE, "--method", "saliency", "--overwrite"]
    logits = json.loads(cli(*common, "--model-output", "logits").out)
    assert "within" not in logits
    maps = json.loads(cli(*common, "--model-output", "maps", "--within", "everywhere").out)
    assert (maps["within"], maps["within_pixels"]) == ("everywhere", [64])


def test_colours_can_go_up_to_the_largest_value(explain: Cli, tmp_path: Path) -> None:
    shown = {}
    for percentile in (100, 50):
        assert explain("--signed", "--colours-to", percentile, "--overwrite", "-o", "out.png").code == 0
        shown[percentile] = imagecodecs.png_decode((tmp_path / "out.png").read_bytes())
    assert (shown[100] != shown[50]).any()
    assert explain("--colours-to", "101").code == 2


def test_several_targets_are_shown_side_by_side_from_one_pass(
    cli: Cli, photograph: Path, model_file: Path, tmp_path: Path
) -> None:
    common = ["--json", "explain", photograph, *CODE, "--target", "truth=bird,predicted"]
    truth, predicted = json.loads(cli(*common, "-o", "out.png").out)["maps"]
    assert (truth["label"], truth["caption"], truth["method"]) == ("bird", "truth: bird", "gradcam")
    assert predicted["caption"] == f"predicted: {predicted['label']}"
    picture = imagecodecs.png_decode((tmp_path / "out.png").read_bytes())
    assert picture.shape[1] >= 2 * 256
    answer = cli(*common[1:], "--overwrite", "-o", "out.png")
    assert "truth: bird" in answer.out
    assert "predicted: " in answer.out


def test_other_methods_are_shown_below_for_the_same_targets(
    cli: Cli, photograph: Path, model_file: Path, tmp_path: Path
) -> None:
    also = ["--beside", "counterfactual_gradcam", "--beside", "saliency", "--layer", "2"]
    common = ["--json", "explain", photograph, *CODE, "--target", "0,dog", *also]
    maps = json.loads(cli(*common, "-o", "out.npz").out)["maps"]
    methods = [name for name in ("gradcam", "counterfactual_gradcam", "saliency") for _ in range(2)]
    assert [one["method"] for one in maps] == methods
    assert [one["label"] for one in maps] == ["cat", "dog"] * 3
    assert [one.get("layer") for one in maps] == ["2", "2", "2", "2", None, None]
    kept = np.load(tmp_path / "out.npz")
    preprocess = Preprocess(size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    pixels = preprocess.normalise(preprocess.fit_photograph(imagecodecs.png_decode(photograph.read_bytes())))[None]
    expected = xaipipe.explain(loaded(model_file), pixels, "counterfactual_gradcam", target=[0, 1], layer="2")
    for number, one in zip((2, 3), expected, strict=True):
        assert np.allclose(kept[f"{number}.values"], one.values.numpy())
        assert tuple(kept[f"{number}.offset"]) == one.grid.offset
        assert str(kept[f"{number}.method"]) == "counterfactual_gradcam"
    assert cli(*common, "-o", "out.png").code == 0
    assert imagecodecs.png_decode((tmp_path / "out.png").read_bytes()).shape[0] >= 3 * 256


def test_a_file_configures_and_flags_override(cli: Cli, photograph: Path, run_file: Path) -> None:
    answer = cli("--json", "explain", photograph, "--config", run_file, "--trust", "--target", "0", "-o", "out.png")
    assert json.loads(answer.out)["target"] == 0
    answer = cli("--json", "explain", photograph, "--config", run_file, "--trust", "-o", "out2.png")
    assert json.loads(answer.out)["target"] == 1


def test_another_method_does_not_inherit_the_files_keys(cli: Cli, photograph: Path, run_file: Path) -> None:
    run_file.write_text(run_file.read_text().replace("target = 1", 'target = 1\nlayer = "0"'))
    assert cli("explain", photograph, "--config", run_file, "--method", "saliency", "--trust").code == 0


def test_settings_count_for_the_method_of_the_command_line(cli: Cli, photograph: Path, run_file: Path) -> None:
    common = ["--json", "explain", photograph, "--config", run_file, "--method", "saliency", "--trust"]
    assert json.loads(cli(*common, "--set", "explain.magnitude=true").out)["cells"][0] == 1
    assert cli(*common, "--set", "explain.nonsense=1").code == 2


def test_a_model_typed_on_the_command_line_is_relative_to_where_it_was_typed(
    cli: Cli, photograph: Path, model_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "run.toml").write_text('[explain]\nmethod = "gradcam"\n')
    assert cli("explain", photograph, "--config", "settings/run.toml", *CODE).code == 0


def test_a_model_in_a_file_is_relative_to_the_file(
    cli: Cli, photograph: Path, run_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_file.parent / "elsewhere").mkdir()
    monkeypatch.chdir(run_file.parent / "elsewhere")
    assert cli("explain", photograph, "--config", "../run.toml", "--trust").code == 0


def test_a_tiled_tiff_is_a_photograph_too(cli: Cli, slide_file: Path, model_file: Path) -> None:
    assert cli("explain", slide_file, *CODE).code == 0


@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.bmp", "p.tif", "grey.png", "alpha.png", "deep.png"])
def test_photographs_of_every_kind_are_read(
    cli: Cli, tmp_path: Path, model_file: Path, rgb: np.ndarray, name: str
) -> None:
    pixels = {
        "grey.png": rgb[..., 0],
        "alpha.png": np.dstack([rgb, rgb[..., 0]]),
        "deep.png": rgb.astype(np.uint16) * 257,
    }.get(name, rgb)
    encode = {"png": imagecodecs.png_encode, "jpg": imagecodecs.jpeg8_encode, "bmp": imagecodecs.bmp_encode}
    if name.endswith("tif"):
        tifffile.imwrite(tmp_path / name, pixels)
    else:
        (tmp_path / name).write_bytes(encode[name[-3:]](np.ascontiguousarray(pixels)))
    answer = cli("explain", tmp_path / name, *CODE)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "gradcan"], "there is no explain method 'gradcan'\n  next: did you mean 'gradcam'?"),
        (["--method", "smooth"], "'smooth' is a postprocess method\n  expected: a explain method"),
        (["--layr", "2"], "unexpected '--layr'\n  where: method 'gradcam'\n  next: did you mean '--layer'?"),
        (["--overwrit"], "unexpected '--overwrit'\n  where: method 'gradcam'\n  next: did you mean '--overwrite'?"),
        (["--layer"], "'--layer' wants a value"),
        (["--layer", "--signed"], "'--layer' wants a value"),
        (["another.png"], "explain takes one image\n  got: "),
        (["--signed=perhaps"], "parameter 'signed' has a value that it cannot take\n  got: 'perhaps'"),
        (["--target", "brid"], "unknown target 'brid'\n  expected: a label of the model\n  next: did you mean 'bird'?"),
        (["--target", "1,,2"], "a target is missing\n  got: 1,,2\n  expected: targets with commas between them"),
        (["--target", "truth="], "a target has a name or nothing before it\n  got: truth=\n  expected: truth=12"),
        (["--target", "truth=brid"], "unknown target 'brid'\n  expected: a label of the model"),
        (["--beside", "gradcan"], "there is no explain method 'gradcan'\n  next: did you mean 'gradcam'?"),
        (["--set", "explain.target=1.5"], "parameter 'target' has a value that it cannot take\n  got: 1.5"),
        (["--score", "softmax"], "parameter 'score' has a value that it cannot take\n  got: 'softmax'"),
        (["--within", "here"], "parameter 'within' has a value that it cannot take\n  got: 'here'"),
        (["--within", "everywhere"], "'within' asks for pixels of the output, and this model's output has none"),
        (["--target", "norm", "--score", "probability"], "only a class has a probability\n  got: target norm"),
        (["--model-output", "logits"], "the model returns one output, there is none to choose"),
        (["--target", "3"], "target out of range\n  got: 3\n  expected: 0 … 2, the model has 3 outputs"),
        (["--target", "-1"], "target out of range\n  got: -1"),
        (["--layer", "22"], "the model has no layer '22'\n  where: Sequential\n  next: did you mean '2'?"),
        (["--layer", "6"], "layer '6' has no spatial output\n  got: (1, 3)\n  expected: a tensor [N, C, h, w]"),
        (["--set", "run.device=gpu"], "unknown device\n  got: gpu\n  expected: auto, cpu, cuda or cuda:N"),
        (["--set", "explain.method=3"], "[explain] does not say which method\n  got: 3"),
        (["--set", "nonsense"], "--set wants table.key=value\n  got: nonsense"),
        (["--config", "nowhere.toml"], "there is no such configuration file\n  where: nowhere.toml"),
    ],
)
def test_a_flag_that_is_off_is_a_usage_error_and_nothing_is_written(
    explain: Cli, tmp_path: Path, snapshot: Callable[[Path], Any], arguments: list[str], message: str
) -> None:
    before = snapshot(tmp_path).keys() | {"was-run"}
    answer = explain(*arguments)
    assert answer.code == 2
    assert f"error: {message}" in answer.err
    assert {name for name in snapshot(tmp_path) if "__pycache__" not in name} <= before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('explain = "gradcam"', "'explain' is a table\n  got: str\n  expected: [explain]"),
        ("model = 3", "'model' is a table\n  got: int\n  expected: [model]"),
        ("[modle]\n", "unknown table '[modle]'\n  next: did you mean 'model'?"),
        ('[explain]\nmethod = "gradcam"\nlayr = "2"', "unknown parameter 'layr'"),
    ],
)
def test_a_file_that_is_off_is_a_usage_error(cli: Cli, photograph: Path, content: str, message: str) -> None:
    Path("run.toml").write_text(content)
    answer = cli("explain", photograph, *CODE, "--config", "run.toml")
    assert answer.code == 2
    assert f"error: {message}" in answer.err


def test_no_model_is_said(cli: Cli, photograph: Path) -> None:
    answer = cli("explain", photograph)
    assert (answer.code, answer.err) == (2, "error: no model is given\n  expected: --model or a [model] table\n")


def test_nothing_says_how_the_model_wants_its_input(cli: Cli, photograph: Path, model_file: Path) -> None:
    model_file.write_text(model_file.read_text().replace("PREPROCESS", "OTHER"))
    answer = cli("explain", photograph, *CODE)
    assert answer.code == 2
    assert "nothing says how this model wants its input" in answer.err
    assert "expected: a [preprocess] table with size, mean and std" in answer.err


def test_a_real_model_sees_what_is_on_a_real_photograph(cli: Cli, data: Path) -> None:
    models, picture = data / "models", data / "images" / "both.png"
    if not (picture.is_file() and (models / "mobilenets.py").is_file()):
        pytest.skip("the model or the photograph is not among the data")
    settings = [
        f"model.weights={models / 'mobilenet_v1_075_imagenet.safetensors'}",
        f"model.labels={models / 'imagenet_labels.txt'}",
        "preprocess.size=192",
        "preprocess.mean=[0,0,0]",
        "preprocess.std=[1,1,1]",
    ]
    given = [text for setting in settings for text in ("--set", setting)]
    answer = cli("--json", "explain", picture, "--model", f"{models / 'mobilenets.py'}:mobilenet_v1", "--trust", *given)
    assert answer.code == 0, answer.out
    assert json.loads(answer.out)["label"] == "bull mastiff"


def test_postprocessors_of_the_file_are_applied_and_segmenters_named(
    cli: Cli, photograph: Path, run_file: Path, tmp_path: Path
) -> None:
    """Grad-CAM, signed, then relu: nothing negative is left."""
    run_file.write_text(run_file.read_text() + '[[postprocess]]\nmethod = "relu"\n[[segment]]\nmethod = "threshold"\n')
    common = ["explain", photograph, "--config", run_file, "--trust", "--set", "explain.signed=true"]
    answer = cli(*common, "-o", "out.npz")
    assert answer.code == 0
    assert "not run  segment" in answer.out
    assert np.load(tmp_path / "out.npz")["values"].min() >= 0
