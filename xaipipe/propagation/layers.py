"""Which module is running, while a model runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from xaipipe.errors import UsageError, did_you_mean

Look = Callable[[str, Any], Any]


class Layers:
    """The dotted names of the modules that are running in this thread, innermost last."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._running = module, [""]

    @property
    def innermost(self) -> str:
        return self._running[-1]

    def require(self, name: str) -> None:
        """Refuse a name that no module has."""
        names = [known for known, _ in self._named() if known]
        if name not in names:
            raise UsageError(
                f"the model has no layer '{name}'", where=type(self._module).__name__, hint=did_you_mean(name, names)
            )

    def _named(self) -> Iterator[tuple[str, nn.Module]]:
        """Compiled modules hold the original as a part, which has the name that it would have without."""
        for name, module in self._module.named_modules():
            if "_orig_mod" in module._modules:  # asked like this since `hasattr` takes long to say no
                continue
            parts = name.split(".") if "_orig_mod" in name else [name]
            yield ".".join(part for part in parts if part != "_orig_mod"), module

    @contextmanager
    def watched(self, look: Look | None = None) -> Iterator[None]:
        """Inside, names are known; `look(name, output)` may replace what a module puts out."""
        owner = threading.get_ident()
        handles: list[RemovableHandle] = []
        self._running = [""]

        def enter(name: str) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                if threading.get_ident() == owner:
                    self._running.append(name)

            return hook

        def leave(name: str) -> Callable[..., Any]:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
                if threading.get_ident() != owner:
                    return None
                self._running.pop()
                return look(name, output) if look is not None else None

            return hook

        try:
            for name, module in self._named():
                try:
                    handles.append(module.register_forward_pre_hook(enter(name)))
                    handles.append(module.register_forward_hook(leave(name)))
                except RuntimeError:  # scripted modules do not let themselves be watched
                    continue
            yield
        finally:
            for handle in handles:
                handle.remove()
