"""Methods that run a model backwards by rules of their own."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_propagation.deconvnet import DeconvNet
from xaipipe_propagation.deeplift import DeepLift
from xaipipe_propagation.guided_backprop import GuidedBackprop
from xaipipe_propagation.lrp import Lrp


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [DeconvNet, DeepLift, GuidedBackprop, Lrp]
