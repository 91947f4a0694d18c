"""Where models come from: names, weights, code; and code runs only where somebody said so."""

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from xaipipe import InputError, Model, Preprocess, UntrustedError, UsageError
from xaipipe.models.sources import ModelSettings, load_model


def load(base: Path, *, trust: bool = True, **settings: Any) -> Model:
    return load_model(ModelSettings(**settings), trust=trust, base=base)


def ran(base: Path) -> bool:
    return (base / "was-run").exists()


def test_a_factory_in_a_file_brings_model_preprocessing_and_labels(model_file: Path) -> None:
    model = load(model_file.parent, source="model.py:build")
    assert isinstance(model.module, nn.Sequential)
    assert not model.module.training
    assert model.preprocess == Preprocess(size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert model.labels == ("cat", "dog", "bird")
    assert model.source == "model.py:build"


def test_settings_of_the_run_go_on_top_of_the_models_own(model_file: Path) -> None:
    own = load(model_file.parent, source="model.py:build").preprocess
    merged = Preprocess.merged(own, {"mpp": 0.25}, "[preprocess]")
    assert (merged.size, merged.mean, merged.mpp) == (32, (0.5, 0.5, 0.5), 0.25)
    with pytest.raises(UsageError, match="'size' is required"):
        Preprocess.merged(None, {"mpp": 0.25}, "[preprocess]")


def test_a_factory_in_a_module(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_file.rename(model_file.with_name("xp_some_model.py"))
    monkeypatch.syspath_prepend(str(model_file.parent))
    assert load(Path("elsewhere"), source="xp_some_model:build").labels == ("cat", "dog", "bird")
    del sys.modules["xp_some_model"]


@pytest.mark.parametrize("source", ["model.py:build", "xp_no_module:build"])
def test_code_does_not_run_without_trust(model_file: Path, source: str) -> None:
    with pytest.raises(UntrustedError) as caught:
        load(model_file.parent, trust=False, source=source)
    assert str(caught.value) == (
        "this model is code, and code runs only where you say so\n"
        f"  where: {source}\n  next: read it, then add --trust (from Python: trust=True)"
    )
    assert not ran(model_file.parent)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def build(): return 3",
            "else than a model\n  got: int\n  expected: a torch.nn.Module\n  where: m.py",
        ),
        ("def build(): raise ValueError('no weights')", "the model's factory failed\n  got: ValueError: no weights"),
        ("def build(): raise SystemExit(0)", "the model's factory failed\n  got: SystemExit: 0"),
        ("def build(path): return path", "the model's factory failed\n  got: TypeError: build.* missing 1"),
        ("1 / 0", "the model's file cannot be run\n  got: ZeroDivisionError: division by zero\n  where: .*m.py"),
        ("def build(:", "the model's file cannot be run\n  got: SyntaxError"),
        ("PREPROCESS = 3\ndef build(): ...", "PREPROCESS of m.py is not a dictionary\n  got: int"),
    ],
)
def test_code_that_fails_is_worded(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "m.py").write_text(code)
    with pytest.raises(InputError, match=message):
        load(tmp_path, source="m.py:build")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("model.py:built", "'model.py' has no factory 'built'\n  next: did you mean 'build'"),
        ("model.py:PREPROCESS", "'model.py' has no factory 'PREPROCESS'"),
        ("modle.py:build", r"there is no such Python file\n  where: .*modle\.py"),
        ("xp_no_module:build", "module 'xp_no_module' cannot be imported\n  got: .*\n  next: .*PYTHONPATH"),
        (":build", "a factory is named by its place and its name\n  got: :build\n  expected: FILE.py:build"),
        ("model.py:", "a factory is named by its place and its name"),
        ("model.py", "model source 'model.py' is not .*\n  expected: .*\n  next: .* model.py:build"),
        ("resnet50", "model source 'resnet50' is not one of those that are known\n  expected: timm:NAME"),
        ("model.pt2", "model source 'model.pt2' is not one of those that are known"),
        ("hf:org/name@rev", "Hugging Face Hub are not supported yet\n  got: hf:org/name@rev\n  next: download"),
        ("weights.pt", r"a file of weights needs its architecture\n  where: .*\n  next: set arch = \"timm:NAME\""),
    ],
)
def test_a_source_that_leads_nowhere_is_worded(model_file: Path, source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(model_file.parent, source=source)


def test_an_architecture_has_to_be_a_librarys(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown architecture 'resnet18'\n  expected: timm:NAME or torchvision:NAME"):
        load(tmp_path, source="weights.pt", arch="resnet18")


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_that_is_missing_is_asked_for(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match=rf"{library} is not installed\n.*\n  next: pip install 'xaipipe\[timm\]'"):
        load(Path(), source=f"{library}:resnet18")


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_factory_gets_the_path_of_its_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.py").write_text(
        "from torch import nn\ndef build(path):\n    net = nn.Identity()\n    net.labels = [path]\n    return net\n"
    )
    (tmp_path / name).write_bytes(b"weights")
    assert load(tmp_path, source="m.py:build", weights=name).labels == (str(tmp_path / name),)
    with pytest.raises(InputError, match="there is no such file of weights"):
        load(tmp_path, source="m.py:build", weights="nowhere.pt")


def test_labels_come_from_a_file(model_file: Path) -> None:
    (model_file.parent / "labels.txt").write_text("Katze\nHund\nVögel\n", encoding="utf-8")
    assert load(model_file.parent, source="model.py:build", labels="labels.txt").labels == ("Katze", "Hund", "Vögel")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file of labels"), (b"\xff\xfe\xfa", "the labels are not text in UTF-8")],
)
def test_labels_that_cannot_be_read_are_worded(model_file: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (model_file.parent / "labels.txt").write_bytes(content)
    with pytest.raises(InputError, match=rf"{message}(\n.*)?\n  where: .*labels\.txt"):
        load(model_file.parent, source="model.py:build", labels="labels.txt")


class Malicious:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def little_library(monkeypatch: pytest.MonkeyPatch, tiny: nn.Module) -> None:
    """Stands where timm would: one architecture, so that reading weights is tried without the library."""
    from xaipipe.models import libraries

    monkeypatch.setitem(libraries.LIBRARIES, "timm", lambda name, pretrained: (tiny, None))


@pytest.mark.usefixtures("little_library")
@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.safetensors"])
def test_weights_are_loaded_without_trust(tmp_path: Path, tiny: nn.Module, name: str) -> None:
    state = {key: torch.full_like(value, 0.25) for key, value in tiny.state_dict().items()}
    if name.endswith("safetensors"):
        save_file(state, tmp_path / name)
    else:
        torch.save(state, tmp_path / name)
    model = load(tmp_path, trust=False, source=name, arch="timm:tiny")
    assert all((value == 0.25).all() for value in model.module.state_dict().values())


@pytest.mark.usefixtures("little_library")
@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, trust: bool, legacy: bool) -> None:
    witness = tmp_path / "was-run"
    if legacy:
        (tmp_path / "evil.pt").write_bytes(pickle.dumps({"0.weight": Malicious(witness)}, protocol=2))
    else:
        torch.save({"0.weight": Malicious(witness)}, tmp_path / "evil.pt")
    with pytest.raises(InputError) as caught:
        load(tmp_path, trust=trust, source="evil.pt", arch="timm:tiny")
    text = str(caught.value)
    assert "the file holds code, not only weights" in text
    assert "pass FILE.py:factory --trust" in text
    assert "weights_only" not in text, "torch advises to load it unsafely; we do not"
    assert not witness.exists()


@pytest.mark.usefixtures("little_library")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.safetensors", b"", "the weights cannot be read\n  got: "),
        ("w.safetensors", b"\xff" * 64, "the weights cannot be read\n  got: "),
        ("w.pt", b"PK\x03\x04 cut short", "the weights cannot be read\n  got: "),
        ("w.pt", None, "there is no such file of weights"),
    ],
)
def test_weights_that_are_none_are_worded(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, source=name, arch="timm:tiny")
    assert f"where: {tmp_path / name}" in str(caught.value)


@pytest.mark.usefixtures("little_library")
@pytest.mark.parametrize("state", [{}, {"other": torch.ones(1)}, {"0.weight": torch.ones(2)}, torch.ones(3), [1], 3])
def test_weights_of_another_model_are_worded_briefly(tmp_path: Path, state: Any) -> None:
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(
        InputError, match=r"the weights do not fit the architecture\n  got: .+\n  where: .* as timm:t"
    ) as e:
        load(tmp_path, source="w.pt", arch="timm:tiny")
    assert len(str(e.value)) < 700


@pytest.mark.parametrize("source", ["timm:resnet18", "torchvision:resnet18"])
def test_a_librarys_model_brings_its_preprocessing(source: str) -> None:
    pytest.importorskip(source.partition(":")[0])
    model = load(Path(), trust=False, source=source, pretrained=False)
    assert model.preprocess is not None
    assert model.preprocess.size == 224
    assert model.preprocess.mean == pytest.approx((0.485, 0.456, 0.406))
    assert model.outputs(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


@pytest.mark.parametrize("source", ["timm:resnet81", "torchvision:resnet81"])
def test_a_misspelt_model_of_a_library_gets_the_nearest_one(source: str) -> None:
    library = pytest.importorskip(source.partition(":")[0])
    with pytest.raises(UsageError, match=f"{library.__name__} has no .*model 'resnet81'\n  next: did you mean 'resnet"):
        load(Path(), source=source, pretrained=False)


def test_torchvisions_detectors_are_not_classifiers() -> None:
    pytest.importorskip("torchvision")
    with pytest.raises(UsageError, match="torchvision has no classification model 'fcn_resnet50'"):
        load(Path(), source="torchvision:fcn_resnet50", pretrained=False)


def test_torchvisions_labels_are_the_outputs_names() -> None:
    pytest.importorskip("torchvision")
    assert load(Path(), source="torchvision:resnet18", pretrained=False).labels[281] == "tabby"


def test_a_variant_that_a_library_does_not_have_is_worded() -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError, match=r"timm cannot make the model 'resnet18.no_such_tag'\n  got: "):
        load(Path(), source="timm:resnet18.no_such_tag")
