"""Configurations: TOML, `--set`, and every key that is wrong named before anything is opened."""

from pathlib import Path
from typing import Any

import pytest
import torch

from xaipipe import InputError, Registry, UsageError
from xaipipe.config import TABLES, build_config, read_toml, with_settings

EXPLAIN = {"explain": {"method": "gradcam"}}


def said(registry: Registry, tables: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as caught:
        build_config(tables, registry)
    return str(caught.value)


def test_a_file_is_read_as_toml(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[explain]\nmethod = "gradcam"\n')
    assert read_toml(tmp_path / "a.toml") == EXPLAIN


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such configuration file\n  where: .*a.toml"):
        read_toml(tmp_path / "a.toml")


def test_a_folder_is_not_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read\n  got: Is a directory"):
        read_toml(tmp_path)


@pytest.mark.parametrize("content", [b"[explain\n", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_what_is_not_toml_is_said_with_its_place(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(InputError, match=r"not valid TOML\n  got: .+\n  where: .*a.toml"):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["run.seed=3"], {"run": {"seed": 3}}),
        (["explain.layer=features.18"], {"explain": {"method": "gradcam", "layer": "features.18"}}),
        (['explain.layer="4"'], {"explain": {"method": "gradcam", "layer": "4"}}),
        (["explain.target = 7"], {"explain": {"method": "gradcam", "target": 7}}),
        (["explain.target=a=b"], {"explain": {"method": "gradcam", "target": "a=b"}}),
        (["preprocess.mean=[0, 0, 0]"], {"preprocess": {"mean": [0, 0, 0]}}),
        (["postprocess.0.method=smooth", "postprocess.0.sigma=2"], {"postprocess": [{"method": "smooth", "sigma": 2}]}),
        (
            ["postprocess.0.method=relu", "postprocess.1.method=smooth"],
            {"postprocess": [{"method": "relu"}, {"method": "smooth"}]},
        ),
        (["run.seed=1", "run.seed=2"], {"run": {"seed": 2}}),
    ],
)
def test_set_reaches_scalars_tables_and_list_entries(settings: list[str], expected: dict[str, Any]) -> None:
    assert with_settings(EXPLAIN, settings) == EXPLAIN | expected


def test_set_leaves_the_tables_it_was_given_alone() -> None:
    tables = {"postprocess": [{"method": "smooth"}]}
    with_settings(tables, ["postprocess.0.sigma=2", "run.seed=1"])
    assert tables == {"postprocess": [{"method": "smooth"}]}


@pytest.mark.parametrize("setting", ["explain.method", "explain=3", "=3", ".a=1", "explain..method=3", ""])
def test_a_setting_without_table_key_and_value_is_refused(setting: str) -> None:
    with pytest.raises(
        UsageError, match=r"--set wants table.key=value\n  got: .*\n  next: --set explain.method=gradcam"
    ):
        with_settings(EXPLAIN, [setting])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("explain.method.deep=1", "'method' is a value, not a table"),
        ("postprocess.1.sigma=1", "there is no entry '1'"),
        ("postprocess.x.sigma=1", "there is no entry 'x'"),
        ("postprocess.-1.sigma=1", "there is no entry '-1'"),
        ("postprocess.².sigma=1", "there is no entry '²'"),
        ("postprocess.0=smooth", "a list entry is a table"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        with_settings(EXPLAIN, [setting])
    assert f"--set {setting}" in str(caught.value)


def test_the_smallest_configuration_is_one_method(registry: Registry) -> None:
    config = build_config(EXPLAIN, registry)
    assert (config.loader.name, config.explainer.name, config.store.name) == ("tiles", "gradcam", "ome_zarr")
    assert config.model is None
    assert config.base == Path.cwd()


def test_lists_of_stages_keep_their_order(registry: Registry) -> None:
    tables = EXPLAIN | {"postprocess": [{"method": "smooth", "sigma": 2}, {"method": "relu"}]}
    config = build_config(tables, registry)
    assert [stage.name for stage in config.postprocessors] == ["smooth", "relu"]
    assert config.postprocessors[0].params.sigma == 2


@pytest.mark.parametrize("table", TABLES)
def test_a_misspelt_table_gets_the_nearest_one(registry: Registry, table: str) -> None:
    wrong = table + "s"
    assert said(registry, EXPLAIN | {wrong: {}}) == f"unknown table '[{wrong}]'\n  next: did you mean '{table}'?"


@pytest.mark.parametrize(
    ("tables", "where", "hint"),
    [
        ({"explain": {"method": "gradcam", "layr": "a"}}, "[explain] method 'gradcam'", "layer"),
        ({"load": {"tlie": 8}}, "[load] method 'tiles'", "tile"),
        ({"model": {"sorce": "a"}}, "[model]", "source"),
        ({"preprocess": {"siz": 1}}, "[preprocess]", "size"),
        ({"run": {"reader": 1}}, "[run]", "readers"),
        ({"store": {"shrad": 1}}, "[store] method 'ome_zarr'", "shard"),
        ({"postprocess": [{"method": "smooth", "sigm": 1}]}, "[postprocess] method 'smooth'", "sigma"),
    ],
)
def test_a_misspelt_key_is_placed_and_gets_the_nearest_one(
    registry: Registry, tables: dict[str, Any], where: str, hint: str
) -> None:
    text = said(registry, EXPLAIN | tables)
    assert text.startswith(("unknown parameter", "parameter"))
    assert f"where: {where}" in text
    assert f"'{hint}'" in text or f"{hint} = …" in text


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"explain": {"method": "gradcan"}}, "there is no explain method 'gradcan'\n  next: did you mean 'gradcam'?"),
        ({"explain": {"method": "smooth"}}, "'smooth' is a postprocess method\n  expected: a explain method"),
        ({"explain": {}}, '[explain] does not say which method\n  expected: method = "NAME"\n  next: choose one of: '),
        ({"explain": {"method": 3}}, "[explain] does not say which method\n  got: 3\n"),
        ({"postprocess": [{"sigma": 1}]}, "[postprocess] does not say which method"),
        (
            {"postprocess": {"method": "smooth"}},
            "'postprocess' is a list of tables\n  got: dict\n  expected: [[postprocess]]",
        ),
        ({"segment": ["threshold"]}, "'segment' is a list of tables\n  got: list\n  expected: [[segment]]"),
        ({"explain": "gradcam"}, "'explain' is a table\n  got: str\n  expected: [explain]"),
        ({"model": "timm:resnet50"}, "'model' is a table\n  got: str\n  expected: [model]"),
    ],
)
def test_a_table_of_the_wrong_kind_is_said(registry: Registry, tables: dict[str, Any], message: str) -> None:
    assert said(registry, EXPLAIN | tables).startswith(message)


@pytest.mark.parametrize("targets", [[1, 2], ["tumour"], []])
def test_settings_make_one_map_for_one_target(registry: Registry, targets: list[Any]) -> None:
    text = said(registry, {"explain": {"method": "saliency", "target": targets}})
    assert "expected: one target, since a map has one; runs and xaipipe.explain (from Python) take a list" in text
    assert "where: [explain] method 'saliency'" in text


def test_a_mask_of_some_images_has_no_place_in_a_run(registry: Registry) -> None:
    mask = torch.ones(4, 5, dtype=torch.bool)
    text = said(registry, {"explain": {"method": "saliency", "within": mask}})
    assert "a run explains many tiles\n  got: [explain] within = a mask (4, 5)\n  expected: 'everywhere'" in text


def test_a_tensor_for_some_images_has_no_place_in_a_run(registry: Registry) -> None:
    text = said(registry, {"explain": {"method": "integrated_gradients", "reference": torch.zeros(3, 4, 5)}})
    assert "a tensor is for certain images" in text
    assert "got: [explain] reference = a tensor (3, 4, 5)" in text


def test_a_value_out_of_range_is_placed(registry: Registry) -> None:
    text = said(registry, EXPLAIN | {"load": {"tile": 4}})
    assert "parameter 'tile'" in text
    assert "got: 4" in text
    assert "greater than or equal to 8" in text
    assert "where: [load] method 'tiles'" in text
