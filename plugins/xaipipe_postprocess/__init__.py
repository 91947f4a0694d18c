"""What is done to maps after they were made."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_postprocess.overlay import Overlay
from xaipipe_postprocess.percentile_clip import PercentileClip
from xaipipe_postprocess.relu import Relu
from xaipipe_postprocess.smooth import Smooth


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [Relu, Smooth, PercentileClip, Overlay]
