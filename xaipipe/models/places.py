"""Layers that are explained, and where their cells lie on the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from xaipipe.errors import UsageError
from xaipipe.models.auto import last_with_space
from xaipipe.models.fields import Field
from xaipipe.models.geometry import measured_grid
from xaipipe.models.layers import NamedLayer, OneLayer, named_layer, no_maps, not_run, watch
from xaipipe.models.model import Model
from xaipipe.models.survey import SeenLayer, survey
from xaipipe.types import Grid

DERIVED = "derived from the network's operators"
_MEASURED = "measured by gradients: an operator has no rule"


@dataclass(frozen=True)
class Place:
    """A layer and the grid of its cells; `source` says how the grid was found."""

    layer: NamedLayer
    grid: Grid
    source: str
    size: tuple[int, int]
    """Rows and columns of its maps."""


def find_place(model: nn.Module | Model, layer: OneLayer | Sequence[OneLayer], pixels: Tensor) -> Place:
    """The layer that a name, a module or 'auto' stands for, for inputs of the size of some pixels."""
    found = find_places(model, layer, pixels)
    if len(found) > 1:
        names = ", ".join(place.layer.name for place in found)
        raise UsageError("one layer is explained at a time here", got=names, hint="name one of them")
    return found[0]


def find_places(model: nn.Module | Model, layers: OneLayer | Sequence[OneLayer], pixels: Tensor) -> tuple[Place, ...]:
    """The same for one layer or several, each once, in the order in which they were named."""
    handle = model if isinstance(model, Model) else Model.of(model)
    named = [layers] if isinstance(layers, str | nn.Module) else list(layers)
    for one in named:
        if one != "auto":
            named_layer(handle.module, one)  # a misspelt name is refused before anything runs
    seen = survey(handle, pixels)
    found = {chosen.layer.name: chosen for chosen in (_chosen(handle, one, seen, pixels) for one in named)}
    for chosen in found.values():
        if chosen.size is None:
            raise _without_maps(chosen, seen)
    return tuple(_place(handle, chosen, pixels) for chosen in found.values())


def _chosen(model: Model, layer: OneLayer, seen: Sequence[SeenLayer], pixels: Tensor) -> SeenLayer:
    if layer == "auto":
        return last_with_space(model, seen, pixels)
    named = named_layer(model.module, layer)
    for one in seen:
        if one.layer.module is named.module:
            return one
    with watch(named.module, type):  # refused where the module does not let itself be watched
        raise not_run(named)


def _place(model: Model, seen: SeenLayer, pixels: Tensor) -> Place:
    assert seen.size is not None
    if seen.field is None:
        return Place(seen.layer, measured_grid(model.module, seen.layer, pixels), _MEASURED, seen.size)
    return Place(seen.layer, seen.field.grid, how_derived(seen.field), seen.size)


def _without_maps(seen: SeenLayer, every: Sequence[SeenLayer]) -> UsageError:
    """Says which layer around it has maps, where one does; the survey has looked at one image."""
    output = seen.output if isinstance(seen.output, str) else tuple(seen.output)
    if not isinstance(output, str) and len(output) == 3 and output[0] > 1:
        output = f"{output} of one image: {output[0]} windows, or other parts, in place of images"
    around = [one for one in every if one.is_spatial and seen.layer.name.startswith(f"{one.layer.name}.")]
    return no_maps(seen.layer, output, max((one.layer.name for one in around), key=len, default=None))


def how_derived(field: Field) -> str:
    """How a grid was found, for the diagnostics of an explanation."""
    if not field.apart:
        return DERIVED
    return f"{DERIVED}; branches up to {field.apart:.3g} pixels apart meet, each counts by what it contributes"
