"""DeconvNet: which pixels would make a unit respond, as a network run backwards."""

from __future__ import annotations

from xaipipe import Batch, Model
from xaipipe.propagation import RuledExplainer, Rules
from xaipipe_propagation.rectifiers import OnlyPositive, with_rectifiers


class DeconvNet(RuledExplainer):
    """The network run backwards: rectifiers let what is positive pass, and look at the way back alone.

    Poolings send it to where the maximum came from, convolutions are transposed, and everything else is as in the
    gradient. Rectifiers are ReLUs however they are written (`F.relu`, `relu_`, `clamp(min=0)`, `maximum(x, 0)`), ReLU6,
    leaky and parametric ReLUs, ELUs, GELU, SiLU, Mish, hardswish and softplus; sigmoid and tanh keep their gradient. A
    ReLU written with a mask, `x * (x > 0)`, is not seen.

    Misleads when: a network has no max-pooling: nothing on the way back then knows the image, and the map is the grid
    of its strides. When it is asked which class: what it shows comes from the maxima, and hardly depends on the target.
    It is no contribution, and sums to nothing.

    Example: `xaipipe.explain(model, x, method="deconvnet", target=281)`

    Reference: Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014.
    """

    name = "deconvnet"

    def rules(self, batch: Batch, model: Model) -> Rules:
        return with_rectifiers(OnlyPositive())
