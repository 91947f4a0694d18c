"""Who may import whom: the framework knows no method, and a method is a file of its own."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import xaipipe
from xaipipe import Registry, Stage, heavy

ROOT = Path(__file__).parents[1]
PLUGINS = {path.parent.name for path in (ROOT / "plugins").glob("xaipipe_*/__init__.py")}
FRAMEWORK = sorted((ROOT / "xaipipe").rglob("*.py"))
METHODS = [method for method, _ in Registry().methods() if method.__module__.split(".")[0] in PLUGINS]


def imported_modules(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def names_in(path: Path) -> set[str]:
    """Every identifier of a file."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return names | attributes | {node.name for node in nodes if isinstance(node, ast.alias)}


def file_of(method: type[Stage]) -> Path:
    return Path(inspect.getfile(method))


def test_there_is_something_to_check() -> None:
    assert {"xaipipe_cam", "xaipipe_gradients", "xaipipe_readers", "xaipipe_store"} <= PLUGINS
    assert len(METHODS) >= 8
    assert len(FRAMEWORK) >= 40


@pytest.mark.parametrize("path", FRAMEWORK, ids=lambda path: str(path.relative_to(ROOT)))
def test_framework_imports_no_plugin(path: Path) -> None:
    assert not {module for module in imported_modules(path) if module.split(".")[0] in PLUGINS}
    assert not {module for module in imported_modules(path) if module.split(".")[0] == "plugins"}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_method_has_a_file_of_its_own(method: type[Stage]) -> None:
    path = file_of(method)
    assert path.stem == method.name
    assert [other.name for other in METHODS if file_of(other) == path] == [method.name]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_method_is_registered_by_its_package_and_nowhere_else(method: type[Stage]) -> None:
    package = file_of(method).parent / "__init__.py"
    assert method.__name__ in names_in(package)
    assert not [path for path in FRAMEWORK if method.__name__ in names_in(path)]


def test_importing_xaipipe_does_not_import_pytest() -> None:
    """Only `xaipipe.testing` needs it, and nothing in the framework imports that."""
    outside = [path for path in FRAMEWORK if path.parent.name != "testing"]
    for path in outside:
        modules = set(imported_modules(path))
        assert not {module for module in modules if module == "pytest" or module.startswith("xaipipe.testing")}, path


def test_every_name_of_xaipipe_is_there() -> None:
    assert all(getattr(xaipipe, name) is not None for name in xaipipe.__all__)
    assert set(heavy.__all__) < set(xaipipe.__all__)
    assert set(xaipipe.__all__) <= set(dir(xaipipe))
    with pytest.raises(AttributeError, match="no attribute 'Explaner'"):
        xaipipe.Explaner  # noqa: B018 - to ask is the test


def test_what_a_reader_imports_does_not_import_torch() -> None:
    program = "import sys, xaipipe, xaipipe_readers, xaipipe.reading.worker; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
