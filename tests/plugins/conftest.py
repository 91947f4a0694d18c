"""Running one check of a contract by hand, to see what it says about a method."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunCheck = Callable[[type, str], None]


@pytest.fixture
def run_check(tmp_path_factory: pytest.TempPathFactory) -> RunCheck:
    """One check, by its name, of a contract's subclass."""

    def run(contract: type, check: str) -> None:
        method: Callable[..., Any] = getattr(contract(), check)
        folder: dict[str, Path] = {}
        if "tmp_path" in inspect.signature(method).parameters:
            folder["tmp_path"] = tmp_path_factory.mktemp("contract")
        method(**folder)

    return run


@pytest.fixture
def checks_of() -> Callable[[type], set[str]]:
    """The names of a contract's checks that need no GPU."""

    def names(contract: type) -> set[str]:
        checks = inspect.getmembers(contract, inspect.isfunction)
        return {name for name, function in checks if name.startswith("test_") and not _needs_gpu(function)}

    return names


def _needs_gpu(function: Any) -> bool:
    return any(mark.name == "gpu" for mark in getattr(function, "pytestmark", ()))
