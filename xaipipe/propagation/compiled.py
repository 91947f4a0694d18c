"""Models that were compiled are explained as they were written."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, whatever was compiled runs as it was written, in all threads.

    torch's switch is one for the whole process: the first thread in turns it, the last one out turns it back.
    """
    if "torch._dynamo" not in sys.modules:  # nothing was ever compiled
        yield
        return
    global _users, _stance
    with _guard:
        _users += 1
        if _users == 1:
            _stance = torch.compiler.set_stance("force_eager")
            _stance.__enter__()
    try:
        yield
    finally:
        with _guard:
            _users -= 1
            if _users == 0:
                _stance.__exit__(None, None, None)


_guard = threading.Lock()
_users = 0
_stance: Any = None
