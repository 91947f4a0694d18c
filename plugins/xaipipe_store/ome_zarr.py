"""An OME-Zarr 0.5 collection: the slide or a reference to it, the map as a sibling image, labels."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from pydantic import Field

from xaipipe import Instance, Receipt, Region, Slide, Store, StoreParams, Unreadable, UsageError
from xaipipe.outputs import sync
from xaipipe.running.layout import Layout
from xaipipe.running.manifest import PlanRecord
from xaipipe_store import ngff
from xaipipe_store.arrays import array_path, create_collection, series
from xaipipe_store.durable import DurableStore, sync_folders, write_durably
from xaipipe_store.identity import require_same
from xaipipe_store.ledger import Ledger, ledger_path
from xaipipe_store.lock import OutputLock
from xaipipe_store.ome_xml import ome_xml
from xaipipe_store.origins import Origins
from xaipipe_store.ownership import check_claim, is_ours, storage_errors
from xaipipe_store.pyramid import DISPLAY, derived_specs, image_specs
from xaipipe_store.table import instance_table, unreadable_table
from xaipipe_store.verify import COMPLETE, completion, damage_of, damaged_files, small_files


class OmeZarr(Store):
    """Sharded Zarr v3 with NGFF 0.5 metadata, one shard a region; NaN where nothing was explained.

    A committed region survives a dead machine: its shard is synced and renamed before its row enters the ledger
    beside the result, and `xaipipe resume` verifies every row.

    Misleads when: a viewer is opened on the collection's folder and shows the first image only: open `heatmap` too.

    Example: `[store]` with `method = "ome_zarr"`, `image = "copy"`

    Reference: OME-NGFF 0.5.
    """

    name = "ome_zarr"

    class Params(StoreParams):
        image: Literal["reference", "copy"] = Field(
            "reference", description="copy every level of the slide into the result, or only name its file"
        )
        chunk: int = Field(512, ge=8, description="largest side of a chunk inside a shard, in cells")
        smallest_level: int = Field(512, ge=16, description="pyramids go down to a level whose sides are no longer")

    _held: OutputLock | None = None
    _ledger: Ledger | None = None

    def claim(self, output: Path, overwrite: bool = False, resume: bool = False) -> None:
        check_claim(output, overwrite, resume)
        self.output = output
        with storage_errors(output):
            self._held = OutputLock(output)

    def begun(self, output: Path) -> bool:
        with storage_errors(output):
            return ledger_path(output).is_file()

    def release(self) -> None:
        ledger, held = self._ledger, self._held
        self._ledger = self._held = None
        try:
            if ledger is not None:
                ledger.close()
        finally:  # a ledger that cannot be closed, on a full disk say, must not keep the output locked
            if held is not None:
                held.release()

    def extended(self, layout: Layout, slide: Slide) -> Layout:
        smallest = self.params.smallest_level
        images = list(image_specs(slide, layout.downsample, smallest)) if self.params.image == "copy" else []
        copied = (spec for spec, is_own in images if is_own)
        built = (spec for spec, is_own in images if not is_own)
        arrays = (*layout.arrays, *copied)
        return replace(layout, arrays=arrays, derived=(*built, *derived_specs(layout.arrays, smallest)))

    def create(self, layout: Layout, slide: Slide, record: PlanRecord) -> None:
        with storage_errors(self.output):
            if self.output.exists():
                if not is_ours(self.output):  # looked at again: it may have been replaced since it was claimed
                    raise UsageError("the output is not ours", where=self.output)
                shutil.rmtree(self.output)
                sync(self.output.absolute().parent)  # before the ledger goes, by which the rest is known as ours
            for suffix in ("", "-wal", "-shm"):
                Path(f"{ledger_path(self.output)}{suffix}").unlink(missing_ok=True)
            self._open_ledger()
            self._book.write_fact("recipe", record.recipe)
            self._book.write_fact("identity", record.identity)
            self._book.write_fact("plan", record.plan)
            self._zarr = DurableStore(self.output)
            create_collection(self._zarr, layout, slide, self.params.chunk)
            images = {name: levels[0] for name, levels in series(layout).items()}
            xml = ome_xml(images, layout, f"xaipipe {version('xaipipe')}")
            write_durably(self.output / "OME" / "METADATA.ome.xml", xml)
            sync(self.output.absolute().parent)
            self._book.write_fact("created", True)
        self._open_arrays(layout, record)

    def reopen(self, layout: Layout, slide: Slide, record: PlanRecord) -> None:
        self._open_ledger()
        begun = self._book.fact("identity")
        if begun is not None:
            require_same(begun, record.identity, self.output)
        if not self._book.fact("created"):  # killed while its metadata was written: nothing is lost
            self._book.close()
            self.create(layout, slide, record)
            return
        with storage_errors(self.output):
            for path, _, content in damaged_files(self.output, self._book):
                write_durably(self.output / path, content)
            with suppress(FileNotFoundError):
                (self.output / COMPLETE).unlink()
            sync_folders(self.output)
            self._zarr = DurableStore(self.output)
        self._open_arrays(layout, record)

    def missing(self, array: str, region: Region) -> str | None:
        receipt = self._book.receipt(array, region)
        if receipt is None:
            return "it was never committed"
        doubt = self._book.doubt(array, region)
        if doubt is not None:
            return doubt
        if array in self._origins and self._book.origin(array, region) != self._origins.origin(array, region):
            return "what it was made of changed"
        return damage_of(self.output, receipt)

    def derive(self, array: str, region: Region) -> np.ndarray:
        rows = ngff.chunk_side(self._layout.array(array).shard, self.params.chunk)
        return self._origins.make(array, region, rows)

    def commit(self, array: str, region: Region, data: np.ndarray) -> Receipt:
        y, x, h, w = self._layout.array(array).cells(region)
        stored = self._arrays[array]
        chunk = ("c", *("0",) * (stored.ndim - 2), str(region.row), str(region.column))
        path = "/".join((stored.path, *chunk))
        with storage_errors(self.output):
            # zarr reads a shard that it fills in part, as at the array's end; a damaged one cannot be read
            (self.output / path).unlink(missing_ok=True)
            stored[(..., slice(y, y + h), slice(x, x + w))] = data if stored.ndim == 3 else data.reshape(h, w)
        written = self._zarr.written.pop(path)
        receipt = Receipt(array, region, path, written.bytes, written.sha256)
        origin = self._origins.origin(array, region) if array in self._origins else None
        self._book.record(receipt, self._record.plan, origin)
        self._origins.changed(array)
        return receipt

    def remember(self, name: str, value: Any) -> None:
        self._book.write_fact(name, value)

    def recall(self, name: str) -> Any:
        return self._book.fact(name)

    def distrust(self, array: str, reason: str, region: Region | None = None) -> None:
        self._book.distrust(array, reason, region)

    def note_unreadable(self, array: str, region: Region, parts: tuple[Unreadable, ...]) -> None:
        self._book.note_unreadable(array, region, parts)

    def unreadable(self) -> tuple[Unreadable, ...]:
        return self._book.unreadable()

    def read(self, array: str, y: int, x: int, h: int, w: int) -> np.ndarray:
        stored = self._arrays[array]
        with storage_errors(self.output):
            box = np.asarray(stored[(..., slice(y, y + h), slice(x, x + w))])
        return box if box.ndim == 3 else box[None]

    def finish(self, manifest: Mapping[str, Any], instances: tuple[Instance, ...]) -> None:
        root = zarr.open_group(self._zarr, mode="r+")
        with storage_errors(self.output):
            for spec in self._layout.arrays:
                if spec.role == "heatmap":
                    group = root[spec.name]
                    window = self._origins.window(spec.name)
                    group.update_attributes(ngff.with_window(group.attrs.asdict(), spec, window))
            if DISPLAY in self._origins:
                group = root[DISPLAY]
                group.update_attributes(ngff.with_display(group.attrs.asdict(), self._origins.window("heatmap")))
            if any(spec.name == "segmentation" for spec in self._layout.arrays):
                write_durably(self.output / "instances.csv", instance_table(instances, self._layout))
            self._list_unreadable()
            root.update_attributes(ngff.with_manifest(root.attrs.asdict(), manifest, self._layout))
            receipts = self._book.receipts()
            files = small_files(self.output, receipts)
            self._book.keep_files(files)
            write_durably(self.output / COMPLETE, completion(self._record.plan, receipts))

    def _list_unreadable(self) -> None:
        path, parts = self.output / "unreadable.csv", self.unreadable()
        if parts:
            write_durably(path, unreadable_table(parts))
        else:
            path.unlink(missing_ok=True)

    @property
    def _book(self) -> Ledger:
        assert self._ledger is not None
        return self._ledger

    def _open_ledger(self) -> None:
        self._ledger = Ledger(ledger_path(self.output))

    def _open_arrays(self, layout: Layout, record: PlanRecord) -> None:
        self._layout, self._record = layout, record
        root = zarr.open_group(self._zarr, mode="r+")
        # a setting of the opened array, not of its metadata: shards that hold nothing are written all the same
        always = {"write_empty_chunks": True}
        specs = (*layout.arrays, *layout.derived)
        self._arrays = {spec.name: root[array_path(spec)].with_config(always) for spec in specs}
        self._origins = Origins(layout, self._book, self.read)
