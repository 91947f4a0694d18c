"""Memory is planned: from a budget follow the size of batches, how many wait, how many regions are made at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from xaipipe.errors import UsageError

_UNITS = {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}
_SHARE_OF_WHAT_IS_FREE = 0.8
READER = 160 << 20
"""A reader process with its cache, as it was measured on tiled slides."""


def parse_bytes(value: Any) -> Any:
    """A number of bytes, or a text such as "6GiB"."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(B|KiB|MiB|GiB|TiB)\s*", value)
    if found is None:
        raise ValueError('a size such as "6GiB" or "800MiB", or a number of bytes')
    return int(float(found[1]) * (1 << _UNITS[found[2]]))


Bytes = Annotated[int, BeforeValidator(parse_bytes), WithJsonSchema({"type": "integer | string"})]


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured on a sample, and what follows from the plan's sizes, all in bytes."""

    held: int
    """By the run before it begins, its readers included."""
    step: int
    """Explaining one tile, on the host."""
    step_on_device: int
    """The same on a GPU; 0 where the model runs on the CPU."""
    waiting: int
    """One tile that was read and waits."""
    maps: int
    """A region's maps while they are made and written."""
    deriving: int
    """One region in the second pass."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done at once."""

    batch: int
    """Tiles explained together; of an exact run's larger tiles fewer."""
    ahead: int
    """Batches that may wait."""
    derivers: int
    """Regions of the second pass at once."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The budget, the sizes that keep within it, and what they are expected to take."""

    sizes: Sizes
    expected: int
    limit: int | None
    """None where nobody says how much memory there is."""


def need(costs: Costs, sizes: Sizes) -> int:
    """The most that is held on the host in either pass."""
    first = sizes.batch * (costs.step + (sizes.ahead + 2) * costs.waiting) + costs.maps
    return costs.held + max(first, sizes.derivers * costs.deriving)


def fitted(costs: Costs, wanted: Sizes, limit: int | None, device_limit: int | None) -> Memory:
    """The largest sizes up to those wanted that keep within the limits; an error where the smallest do not."""
    sizes = wanted
    if costs.step_on_device and device_limit is not None:
        sizes = replace(sizes, batch=max(min(sizes.batch, device_limit // costs.step_on_device), 1))
    while limit is not None and need(costs, sizes) > limit:
        smaller = _smaller(costs, sizes)
        if smaller is None:
            raise UsageError(
                "the memory budget is too small for this run",
                got=_said(limit),
                expected=f"at least {_said(need(costs, sizes))}",
                hint="raise [run] budget, or make [store] shard or [load] tile smaller",
            )
        sizes = smaller
    return Memory(sizes, need(costs, sizes), limit)


def host_limit(given: int | None, held: int, free: int | None) -> int | None:
    """What was given; else most of what is held and free."""
    if given is not None:
        return given
    return None if free is None else held + int(free * _SHARE_OF_WHAT_IS_FREE)


def device_limit(given: int | None, free: int | None) -> int | None:
    """What was given, where there is as much; else most of what is free."""
    if free is None:
        return given
    most = int(free * _SHARE_OF_WHAT_IS_FREE)
    return most if given is None else min(given, free)


def _smaller(costs: Costs, sizes: Sizes) -> Sizes | None:
    """One step down, where the need comes from; None from the smallest."""
    first = replace(sizes, derivers=0)
    if sizes.derivers > 1 and need(costs, sizes) > need(costs, first):
        return replace(sizes, derivers=sizes.derivers - 1)
    if sizes.ahead > 1:
        return replace(sizes, ahead=sizes.ahead - 1)
    if sizes.batch > 1:
        return replace(sizes, batch=sizes.batch // 2)
    return None


def _said(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 1 << 30 else f"{count / 2**20:.0f} MiB"
