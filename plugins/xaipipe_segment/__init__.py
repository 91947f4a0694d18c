"""From maps to labels."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_segment.components import Components
from xaipipe_segment.threshold import Threshold


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [Components, Threshold]
