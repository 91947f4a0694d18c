"""What tests of kernels change and put back; and what a kernel was called with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from xaipipe.ops import _library


@pytest.fixture
def restore_isa() -> Iterator[None]:
    yield
    _library.kernels().set_isa("auto")


@pytest.fixture
def restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments of every call of a kernel, which runs all the same."""
    calls: list[tuple[Any, ...]] = []
    runner = _library.runner

    def watched(name: str, device: torch.device) -> tuple[Callable[..., None], tuple[int, ...]]:
        run, place = runner(name, device)

        def call(*arguments: Any) -> None:
            calls.append((name, *arguments))
            run(*arguments)

        return call, place

    monkeypatch.setattr(_library, "runner", watched)
    return calls
