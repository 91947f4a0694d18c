"""`xaipipe doctor`: what is installed, what was built, what works."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
import typer
from rich.table import Table

from xaipipe.cli.session import session_of

_PACKAGES = (
    "xaipipe",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "zarr",
    "tifffile",
    "imagecodecs",
    "scikit-image",
    "scikit-learn",
    "pluggy",
    "pydantic",
)


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(context: typer.Context) -> None:
    """Versions, kernels, instruction sets, GPU, and plugins with their state."""
    session = session_of(context)
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "kernels": kernel_facts(),
        "gpu": gpu_facts(),
        "threads": torch.get_num_threads(),
        "plugins": {plugin.name: f"{plugin.state} {plugin.reason}".strip() for plugin in session.registry.plugins},
    }
    if session.json:
        session.emit(facts)
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    for name, value in facts.items():
        if isinstance(value, dict):
            for number, (key, inner) in enumerate(value.items()):
                table.add_row(name if number == 0 else "", f"{key}: {inner}")
        else:
            table.add_row(name, str(value))
    session.out.print(table)


def kernel_facts() -> dict[str, Any]:
    """How the kernels were built, or why they are missing."""
    from xaipipe.ops._library import kernels

    try:
        return dict(kernels().build_info())
    except (ImportError, ValueError) as error:
        return {"missing": str(error)}


def gpu_facts() -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {"none": "torch finds no CUDA device; everything runs on the CPU"}
    return {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
