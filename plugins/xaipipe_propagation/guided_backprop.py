"""Guided backpropagation: the gradient, of which only what is positive passes rectifiers."""

from __future__ import annotations

from xaipipe import Batch, Model
from xaipipe.propagation import RuledExplainer, Rules
from xaipipe_propagation.rectifiers import Guided, with_rectifiers


class GuidedBackprop(RuledExplainer):
    """The gradient, but of what comes back only the positive part passes a rectifier: R · 1(X > 0) · 1(R > 0).

    For a ReLU, however it is written (`F.relu`, `relu_`, `clamp(min=0)`, `maximum(x, 0)`). Other rectifiers multiply
    the positive part by their derivative: ReLU6, leaky and parametric ReLUs, ELUs, GELU, SiLU, Mish, hardswish and
    softplus. Sigmoid and tanh, which gate, keep their gradient, and so does everything else. A ReLU written with a
    mask, `x * (x > 0)`, is not seen.

    Misleads when: it is asked which class: maps of different targets look alike, and even a network of random weights
    gives sharp edges. It is no contribution, and sums to nothing.

    Example: `xaipipe.explain(model, x, method="guided_backprop", target=281)`

    Reference: Springenberg, Dosovitskiy, Brox, Riedmiller: Striving for Simplicity, ICLR workshop 2015.
    """

    name = "guided_backprop"

    def rules(self, batch: Batch, model: Model) -> Rules:
        return with_rectifiers(Guided())
