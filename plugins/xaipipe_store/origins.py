"""What derived shards were made of: how the ledger knows which of them are of yesterday."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import numpy as np

from xaipipe import Histogram, Region
from xaipipe.running.layout import ArraySpec, Layout
from xaipipe_store.ledger import Ledger
from xaipipe_store.pyramid import Read, reduced, source_name, source_regions
from xaipipe_store.window import Window


class Origins:
    """Makes derived shards, and says of what: a shard whose sources changed since is to be made again."""

    def __init__(self, layout: Layout, book: Ledger, read: Read) -> None:
        self._layout, self._book, self._read = layout, book, read
        self._names = {spec.name for spec in layout.derived}
        self._windows: dict[str, Window] = {}
        self._counting = threading.Lock()

    def __contains__(self, array: str) -> bool:
        return array in self._names

    def origin(self, array: str, region: Region) -> str:
        """The hash of everything that a derived shard is made of."""
        spec, source = self._specs(array)
        receipts = [self._book.receipt(source.name, one) for one in source_regions(spec, source, region)]
        parts = [receipt.sha256 if receipt else "" for receipt in receipts]
        if spec.role == "display":
            parts.append(repr(self.window("heatmap")))
        return _digest(parts)

    def make(self, array: str, region: Region, rows: int) -> np.ndarray:
        spec, source = self._specs(array)
        if spec.role == "display":
            return self.window("heatmap").as_bytes(self._read(source.name, *spec.cells(region)))
        return reduced(spec, source, region, self._read, rows)

    def window(self, array: str) -> Window:
        """A map's display window; counted once, as long as none of its shards changes."""
        with self._counting:
            if array not in self._windows:
                self._windows[array] = self._known_or_counted(array)
            return self._windows[array]

    def changed(self, array: str) -> None:
        """A shard of an array was committed: what was known of the whole no longer holds."""
        with self._counting:
            self._windows.pop(array, None)

    def _known_or_counted(self, array: str) -> Window:
        of = _digest([receipt.sha256 for receipt in self._book.receipts(array)])
        known = self._book.fact(f"window of {array}")
        if known is None or known["of"] != of:
            window = Window.of(Histogram.merged(self._histograms(self._layout.array(array))))
            known = {"of": of, "low": window.low, "high": window.high}
            self._book.write_fact(f"window of {array}", known)
        return Window(known["low"], known["high"])

    def _histograms(self, spec: ArraySpec) -> Iterator[Histogram]:
        for region in spec.regions():
            yield Histogram.of(self._read(spec.name, *spec.cells(region)))

    def _specs(self, array: str) -> tuple[ArraySpec, ArraySpec]:
        spec = self._layout.array(array)
        return spec, self._layout.array(source_name(spec))


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
