"""What a target is: a name, parameters, and how it is written."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from xaipipe import Params

if TYPE_CHECKING:
    from xaipipe import Registry
    from xaipipe_export.result import Result


class Exporter(ABC):
    """Subclass it in a file of `targets/`, or in a plugin of your own: `--to NAME` finds it.

    Its docstring is what `xaipipe export --help` says of it; its parameters become flags.
    """

    name: ClassVar[str]
    Params: ClassVar[type[Params]] = Params
    suffix: ClassVar[str | None] = None
    """Of the file that it writes; None where it writes a folder."""

    def __init__(self, params: Params, registry: Registry) -> None:
        self.params: Any = params
        self.registry = registry

    @abstractmethod
    def write(self, result: Result, place: Path) -> Mapping[str, Any]:
        """Write a result to a place: a folder that is there and empty, or the name of a file to be made.

        It gets its final name when this has returned. What is returned is told to who asked for it.
        """


def exporters() -> dict[str, type[Exporter]]:
    """Every target by its name."""
    from xaipipe_export import targets

    for module in pkgutil.iter_modules(targets.__path__):
        import_module(f"{targets.__name__}.{module.name}")
    return {exporter.name: exporter for exporter in sorted(_below(Exporter), key=lambda exporter: exporter.name)}


def _below(base: type[Exporter]) -> Iterator[type[Exporter]]:
    for subclass in base.__subclasses__():
        yield from _below(subclass)
        if "name" in vars(subclass):
            yield subclass
