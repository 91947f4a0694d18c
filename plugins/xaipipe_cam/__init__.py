"""Class activation maps."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_cam.gradcam import GradCam


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [GradCam]
