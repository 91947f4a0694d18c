"""The compiled module: how it is found and chosen, what it refuses."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from xaipipe.ops import _library


def test_other_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="got tensors on xpu:0, expected cpu or cuda; move them with"):
        _library.runner("stabilised_divide", torch.device("xpu:0"))


def test_a_build_without_cuda_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "kernels", lambda: SimpleNamespace(build_info=lambda: {"cuda": False}))
    with pytest.raises(RuntimeError, match=r"got tensors on cuda:0, expected cpu, .* XAIPIPE_CUDA=ON"):
        _library.runner("stabilised_divide", torch.device("cuda:0"))


def test_a_missing_extension_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xaipipe._kernels", None)
    with pytest.raises(ImportError, match=r"expected the module xaipipe._kernels; .*pip install"):
        _library.kernels.__wrapped__()


def test_isa_from_the_environment(monkeypatch: pytest.MonkeyPatch, restore_isa: None) -> None:
    monkeypatch.setenv("XAIPIPE_ISA", "baseline")
    assert _library.kernels.__wrapped__().build_info()["isa_in_use"] == "baseline"
    monkeypatch.setenv("XAIPIPE_ISA", "mmx")
    with pytest.raises(ValueError, match=r"XAIPIPE_ISA: .* got 'mmx', expected .*: auto, baseline"):
        _library.kernels.__wrapped__()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": 7}, "dtype: got code 7"),
        ({"n": -1}, "n: got -1, expected 0 or more"),
        ({"repeats": 0}, "repeats: got 0, expected 1 or more"),
        ({"n": 2**40, "repeats": 2**40}, "sizes: got more elements than memory has addresses"),
        ({"inputs": [64, 0]}, "z: got a null pointer"),
        ({"inputs": [64]}, "inputs: got 1 of them, expected 2"),
        ({"outputs": [6]}, "out: got a pointer at 0x6"),
        ({"outputs": []}, "outputs: got 0 of them, expected 1"),
        ({"parameters": [-1.0]}, "eps: got -1"),
        ({"parameters": [0.1, 0.1]}, "parameters: got 2 of them, expected 1"),
        ({"num_threads": 0}, "num_threads: got 0, expected 1 to 1024"),
    ],
)
def test_the_module_refuses_broken_preconditions(changes: dict[str, Any], words: str) -> None:
    x = torch.ones(4)
    good = {"dtype": 0, "inputs": [x.data_ptr()] * 2, "outputs": [x.data_ptr()], "n": 4, "repeats": 1}
    with pytest.raises(ValueError, match=words):
        _library.kernels().stabilised_divide_cpu(**{**good, "parameters": [0.1], "num_threads": 1, **changes})


def test_build_info_names_the_build() -> None:
    info = _library.kernels().build_info()
    assert info["isa_in_use"] in info["isas_available"]
    assert set(info["isas_available"]) <= set(info["isas_compiled"])
    assert info["cuda"] == bool(info["cuda_version"]) == bool(info["cuda_architectures"])
    assert info["version"]
    assert info["compiler"]
    assert isinstance(info["openmp"], bool)
