"""References of an image that is never seen whole: a part's is made of the same part, and of means over the whole.

For a `ComparingExplainer`: what its `require_exact`, `survey` and `others` need of a parameter of the type `Reference`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from xaipipe.errors import UsageError
from xaipipe.propagation.references import Colour, reference_for

_OF_PARTS = ("zeros", "mean")


def require_of_parts(chosen: Tensor | Colour | str) -> None:
    """Refuse references that cannot be made of parts; tensors, which are of certain images, no run has."""
    if isinstance(chosen, str) and chosen not in _OF_PARTS:
        raise UsageError(
            "an exact run meets the slide in parts, and this reference cannot be made of parts",
            got=f"reference = '{chosen}'",
            expected="'zeros', 'mean' (of each channel, over the slide) or a colour: a number for each channel",
            hint='or [run] mode = "approximate": every tile is then compared with a reference of its own',
        )


def survey_for(chosen: Tensor | Colour | str) -> Callable[[Tensor], Tensor] | None:
    """What has to be summed over the pixels, [N, C]; None for nothing."""
    return _channel_sums if isinstance(chosen, str) and chosen == "mean" else None


def reference_of_part(chosen: Tensor | Colour | str, pixels: Tensor, means: Tensor | None) -> Tensor:
    """The reference of parts [N, C, h, w], with the means [N or 1, C] of what was surveyed."""
    if means is None:
        return reference_for(chosen, pixels)
    return means[:, :, None, None].to(pixels).expand_as(pixels)


def _channel_sums(pixels: Tensor) -> Tensor:
    return pixels.detach().double().sum(dim=(2, 3))
