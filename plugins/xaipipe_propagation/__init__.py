"""Methods that run a model backwards by rules of their own."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_propagation.attention_rollout import AttentionRollout
from xaipipe_propagation.attnlrp import AttnLrp
from xaipipe_propagation.deconvnet import DeconvNet
from xaipipe_propagation.deeplift import DeepLift
from xaipipe_propagation.excitation_backprop import ExcitationBackprop
from xaipipe_propagation.guided_backprop import GuidedBackprop
from xaipipe_propagation.lrp import Lrp
from xaipipe_propagation.transformer_attribution import TransformerAttribution


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [
        AttentionRollout,
        AttnLrp,
        DeconvNet,
        DeepLift,
        ExcitationBackprop,
        GuidedBackprop,
        Lrp,
        TransformerAttribution,
    ]
