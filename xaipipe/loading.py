"""Plugins as modules: importing them, and saying whose fault a failure is. Needs no torch: reader processes use it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pluggy

from xaipipe.errors import UsageError

GROUP = "xaipipe"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a plugin comes from: a file, or the entry point of that name where there is no file."""

    name: str
    file: str | None

    def load(self) -> Any:
        if self.file is not None:
            return import_spec(file_spec(Path(self.file)))
        return next(iter(entry_points(group=GROUP, name=self.name))).load()


def file_spec(path: Path) -> ModuleSpec:
    """What a plugin file is as a module, before it runs."""
    spec = importlib.util.spec_from_file_location(f"xaipipe_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError("a plugin file is Python", got=path.name, expected="a file that ends in .py", where=path)
    return spec


def import_spec(spec: ModuleSpec) -> Any:
    """Run the module."""
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def blamed(hooks: pluggy.PluginManager, error: BaseException) -> str:
    """What went wrong inside a hook, and whose hook it was."""
    owners = {
        getattr(impl.function, "__code__", None): impl.plugin_name
        for _, plugin in hooks.list_name_plugin()
        for caller in hooks.get_hookcallers(plugin) or ()
        for impl in caller.get_hookimpls()
    }
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [owners[code] for code in frames if code in owners]
    return f"plugin '{names[-1]}': {reason(error)}" if names else reason(error)


def reason(error: BaseException) -> str:
    """The error in one line, with the last place in the plugin's own code."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_NOT_THE_PLUGIN)]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return f"{type(error).__name__}: {text}{place}"


_NOT_THE_PLUGIN = (
    "<frozen",
    __file__,
    str(Path(__file__).with_name("registry.py")),
    str(Path(importlib.__file__).parent),
    str(Path(pluggy.__file__).parent),
)
