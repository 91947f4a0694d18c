"""Where a model's layers lie, remembered: finding it costs a forward pass of one image."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from torch import Size, Tensor, dtype, nn

from xaipipe.models.layers import OneLayer
from xaipipe.models.model import Model
from xaipipe.models.places import DERIVED, Place, find_places
from xaipipe.models.weight_cache import WeightCache

Layers = OneLayer | Sequence[OneLayer]
Places = tuple[Place, ...]
_SETTINGS = (bool, int, float, str, type(None), tuple, list, dict, Size, dtype)


def known_places(model: Model, layers: Layers, pixels: Tensor) -> Places:
    """`find_places`, once for inputs of one size.

    Within a call or a run, where somebody says that the model's weights stay as they are, everything is kept. Beyond
    it, what follows from the network's operators alone, as long as its modules and their settings are the same; what
    depends on an image is found anew, so that the same call gives the same map.
    """
    key = (model.output, layers, *pixels.shape[1:])
    held = {} if model.weights is None else _held.setdefault(model.weights, {}).setdefault(id(model.module), {})
    if key not in held:
        held[key] = _by_structure(model, layers, pixels, key)
    return held[key]


def _by_structure(model: Model, layers: Layers, pixels: Tensor, key: Hashable) -> Places:
    structure = tuple(_structure(model.module))
    kept = _kept.get(model.module)
    if kept is None or kept[0] != structure:
        kept = _kept[model.module] = (structure, {})
    if key in kept[1]:
        return kept[1][key]
    found = find_places(model, layers, pixels)
    if all(place.source == DERIVED for place in found):
        kept[1][key] = found
    return found


def _structure(module: nn.Module) -> Iterator[Any]:
    """All modules with their settings and the shapes of their weights."""
    for name, part in module.named_modules(remove_duplicate=False):
        yield name, id(part), type(part)
        yield from ((name, repr(value)) for name, value in vars(part).items() if _is_setting(name, value))
        yield from ((name, tuple(tensor.shape)) for name, tensor in part._parameters.items() if tensor is not None)
        yield tuple(part._forward_hooks), tuple(part._forward_pre_hooks)


def _is_setting(name: str, value: Any) -> bool:
    return name not in _OF_MODULES and isinstance(value, _SETTINGS)


_OF_MODULES = frozenset(vars(nn.Module()))
"""What every module has, settings or not."""
_held: WeakKeyDictionary[WeightCache, dict[int, dict[Hashable, Places]]] = WeakKeyDictionary()
_kept: WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], dict[Hashable, Places]]] = WeakKeyDictionary()
