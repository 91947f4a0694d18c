"""What explanations say of themselves, over all tiles of a slide.

A region adds up its tiles, and the ledger keeps that; the slide's summary is merged from all regions, the same in
whatever order they come.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar

from xaipipe.doubts import Doubt
from xaipipe.stages import Store
from xaipipe.types import Explanation, Region, Tile

T = TypeVar("T")
_LARGEST = 1e300
"""Sums of numbers beyond it may overflow; they are counted as what is not finite."""
_MOST_TEXTS = 20
"""Of one diagnostic, that the manifest lists."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A number over tiles, and the tile where it lies farthest from 0: y and x in pixels of the explained level."""

    tiles: int
    total: float
    low: float
    high: float
    farthest: float
    y: int
    x: int

    @classmethod
    def at(cls, value: float, tile: Tile) -> Self:
        return cls(1, value, value, value, value, tile.y, tile.x)

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Sums are rounded once, so that the order does not matter; of tiles equally far the first is named."""
        worst = max(parts, key=lambda part: (abs(part.farthest), -part.y, -part.x))
        return cls(
            tiles=sum(part.tiles for part in parts),
            total=math.fsum(part.total for part in parts),
            low=min(part.low for part in parts),
            high=max(part.high for part in parts),
            farthest=worst.farthest,
            y=worst.y,
            x=worst.x,
        )

    @property
    def mean(self) -> float:
        return self.total / self.tiles

    @property
    def facts(self) -> dict[str, Any]:
        worst = {"value": self.farthest, "y": self.y, "x": self.x}
        return {"tiles": self.tiles, "mean": self.mean, "min": self.low, "max": self.high, "farthest_from_0": worst}


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A kind of doubt over tiles, and the one that is beyond its bound the most, with what is said of it."""

    kind: str
    tiles: int
    excess: float
    y: int
    x: int
    text: str

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Of tiles equally far beyond their bound the first is named."""
        worst = max(parts, key=lambda part: (part.excess, -part.y, -part.x))
        return cls(worst.kind, sum(part.tiles for part in parts), worst.excess, worst.y, worst.x, worst.text)

    @property
    def facts(self) -> dict[str, Any]:
        return {"kind": self.kind, "tiles": self.tiles, "worst": {"y": self.y, "x": self.x}, "text": self.text}


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What was said of some tiles; of one, of a region's, of a slide's."""

    tiles: int
    numbers: Mapping[str, Spread]
    texts: Mapping[str, Mapping[str, int]]
    """How many tiles said each."""
    doubts: tuple[Doubtful, ...]

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        spreads = _by_name((name, one) for part in parts for name, one in part.numbers.items())
        counts = _by_name((name, one) for part in parts for name, one in part.texts.items())
        doubts = _by_name((one.kind, one) for part in parts for one in part.doubts)
        return cls(
            tiles=sum(part.tiles for part in parts),
            numbers={name: Spread.merged(every) for name, every in spreads.items()},
            texts={name: _added(every) for name, every in counts.items()},
            doubts=tuple(Doubtful.merged(every) for every in doubts.values()),
        )

    @classmethod
    def from_ledger(cls, kept: Mapping[str, Any]) -> Self:
        return cls(
            tiles=kept["tiles"],
            numbers={name: Spread(**one) for name, one in kept["numbers"].items()},
            texts=kept["texts"],
            doubts=tuple(Doubtful(**one) for one in kept["doubts"]),
        )

    @property
    def for_ledger(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "tiles": self.tiles,
            "numbers": {name: spread.facts for name, spread in self.numbers.items()},
            "texts": {name: _most_frequent(counts) for name, counts in self.texts.items()},
            "doubts": [one.facts for one in self.doubts],
        }

    def warnings(self) -> Iterator[str]:
        """One for each kind of doubt. The tiles of an exact run overlap, and nobody counts them all."""
        of_all = f" of {self.tiles}" if self.tiles else ""
        for one in self.doubts:
            yield f"{one.text}\n  tiles: {one.tiles}{of_all} are doubtful in this way; this is the worst"


def of_tiles(explanation: Explanation) -> Iterator[Diagnostics]:
    """What an explanation says of each of its tiles."""
    facts = {**explanation.diagnostics, "scores": explanation.scores.tolist()}
    if explanation.standard_error is not None:
        facts["standard_error"] = explanation.standard_error.double().square().mean(dim=(1, 2, 3)).sqrt().tolist()
    for image, tile in enumerate(explanation.tiles):
        said = [(name, one) for name, value in facts.items() for one in _entries(value, image)]
        numbers = {name: Spread.at(float(one), tile) for name, one in said if _is_number(one)}
        texts = _by_name((name, {str(one): 1}) for name, one in said if not _is_number(one))
        yield Diagnostics(1, numbers, {name: _added(every) for name, every in texts.items()}, ())


def of_doubts(
    doubts: Iterable[Doubt], lost: Collection[Tile], targets: Mapping[Tile, int | str] | None = None
) -> Diagnostics:
    """Doubts of the tiles that were not lost; a tile that is doubted more than once in one way counts once.

    `targets` says what was explained of each tile: doubts of maps for others, made with them, are left out.
    """
    found: list[Doubtful] = []
    by_kind = _by_name((doubt.kind, (doubt, image)) for doubt in doubts for image in doubt.images)
    for kind, every in by_kind.items():
        about = [(doubt, image) for doubt, image in every if doubt.tiles[image] not in lost]
        real = [(doubt, image) for doubt, image in about if targets is None or _is_of(doubt, image, targets)]
        if real:
            doubt, image = max(real, key=lambda one: one[0].excess[one[1]])
            count, tile = len({doubt.tiles[image] for doubt, image in real}), doubt.tiles[image]
            found.append(Doubtful(kind, count, doubt.excess[image], tile.y, tile.x, doubt.text(image)))
    return Diagnostics(0, {}, {}, tuple(found))


def _is_of(doubt: Doubt, image: int, targets: Mapping[Tile, int | str]) -> bool:
    return doubt.targets is None or doubt.targets[image] == targets.get(doubt.tiles[image])


def keep(store: Store, region: Region, said: Diagnostics) -> None:
    """What was said of a region's tiles, in place of what was kept before."""
    store.remember(_key(region), said.for_ledger)


def kept(store: Store, regions: Iterable[Region]) -> Diagnostics | None:
    """Of the whole slide; None where nothing was kept."""
    parts = [one for one in (store.recall(_key(region)) for region in regions) if one is not None]
    return Diagnostics.merged([Diagnostics.from_ledger(one) for one in parts]) if parts else None


def _key(region: Region) -> str:
    return f"diagnostics {region.row} {region.column}"


def _entries(value: Any, image: int) -> Iterator[Any]:
    """Of a list the image's own, of a tuple every text; curves and the like are left out."""
    if isinstance(value, tuple):
        yield from (one for one in value if isinstance(one, str))
        return
    own = value[image] if isinstance(value, list) else value
    if isinstance(own, str | int | float):
        yield own


def _is_number(value: Any) -> bool:
    """Whether it can be added up."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _by_name(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    """In the order of the names."""
    found: dict[str, list[T]] = {}
    for name, one in pairs:
        found.setdefault(name, []).append(one)
    return dict(sorted(found.items()))


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def _most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """The first in the alphabet among equals."""
    most = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:_MOST_TEXTS]
    return dict(most)
