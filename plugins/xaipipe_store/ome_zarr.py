"""An OME-Zarr 0.5 collection: the slide or a reference to it, the map as a sibling image, labels."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from pydantic import Field
from zarr.codecs import Crc32cCodec, ZstdCodec

from xaipipe import Histogram, Instance, Receipt, Region, Slide, StorageError, Store, StoreParams, UsageError
from xaipipe.running.layout import ArraySpec, Layout
from xaipipe_store import ngff
from xaipipe_store.image_copy import copy_image
from xaipipe_store.ownership import check_claim, is_ours, storage_errors
from xaipipe_store.table import write_instances


class OmeZarr(Store):
    """Sharded Zarr v3 with NGFF 0.5 metadata, one shard a region; NaN where nothing was explained.

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

    def claim(self, output: Path, overwrite: bool) -> None:
        check_claim(output, overwrite)
        self.output = output

    def create(self, layout: Layout, slide: Slide) -> None:
        self._layout, self._slide = layout, slide
        self._histograms: dict[str, Histogram] = {}
        self._lock = threading.Lock()
        with storage_errors(self.output):
            if self.output.exists():
                if not is_ours(self.output):  # looked at again: it may have been replaced since it was claimed
                    raise UsageError("the output is not ours", where=self.output)
                shutil.rmtree(self.output)
            self._root = zarr.create_group(self.output, zarr_format=3, attributes=ngff.collection(slide))
            if self.params.image == "copy":
                copy_image(self._root, slide, layout)
            self._arrays = {spec.name: self._create_array(spec) for spec in layout.arrays}
            self._root.create_group("OME", attributes=ngff.series(self._images()))

    def commit(self, array: str, region: Region, data: np.ndarray) -> Receipt:
        spec = self._layout.array(array)
        y, x, h, w = spec.cells(region)
        stored = self._arrays[array]
        with storage_errors(self.output):
            stored[(..., slice(y, y + h), slice(x, x + w))] = data if stored.ndim == 3 else data.reshape(h, w)
            if spec.role == "heatmap":
                self._note_values(array, data)
            return self._receipt(stored, array, region)

    def read(self, array: str, y: int, x: int, h: int, w: int) -> np.ndarray:
        stored = self._arrays[array]
        with storage_errors(self.output):
            box = np.asarray(stored[(..., slice(y, y + h), slice(x, x + w))])
        return box if box.ndim == 3 else box[None]

    def finish(self, manifest: Mapping[str, Any], instances: tuple[Instance, ...]) -> None:
        with storage_errors(self.output):
            for spec in self._layout.arrays:
                if spec.role == "heatmap":
                    group = self._root[spec.name]
                    histogram = self._histograms.get(spec.name, Histogram.of(np.zeros(0)))
                    group.update_attributes(ngff.with_display(group.attrs.asdict(), spec, histogram))
            if instances:
                write_instances(self.output / "instances.csv", instances, self._layout)
            self._root.update_attributes(ngff.with_manifest(self._root.attrs.asdict(), manifest, self._layout))

    def _images(self) -> list[str]:
        copied = ["image"] if self.params.image == "copy" else []
        return copied + [spec.name for spec in self._layout.arrays if spec.role == "heatmap"]

    def _create_array(self, spec: ArraySpec) -> zarr.Array:
        """The array of a heatmap or of labels, inside the group that describes it."""
        if spec.role == "labels":
            # under the map, whose number of levels they share, as NGFF wants it
            labels = self._root.require_group("heatmap").create_group("labels", attributes=ngff.label_list(spec))
            group = labels.create_group(spec.name, attributes=ngff.label_image(spec, self._layout))
            shape, shard = (spec.height, spec.width), (spec.shard, spec.shard)
        else:
            group = self._root.create_group(spec.name, attributes=ngff.heatmap_image(spec, self._layout))
            shape = (len(spec.channels), spec.height, spec.width)
            shard = (len(spec.channels), spec.shard, spec.shard)
        side = ngff.chunk_side(spec.shard, self.params.chunk)
        return group.create_array(
            "0",
            shape=shape,
            shards=shard,
            chunks=(1,) * (len(shape) - 2) + (side, side),
            dtype=spec.dtype,
            fill_value=np.nan if spec.role == "heatmap" else 0,
            compressors=(ZstdCodec(level=3), Crc32cCodec()),
            dimension_names=("c", "y", "x")[-len(shape) :],
            config={"write_empty_chunks": True},
        )

    def _note_values(self, array: str, data: np.ndarray) -> None:
        histogram = Histogram.of(data)
        with self._lock:
            known = self._histograms.get(array)
            self._histograms[array] = Histogram.merged([known, histogram]) if known else histogram

    def _receipt(self, stored: zarr.Array, array: str, region: Region) -> Receipt:
        chunk = ("c", *("0",) * (stored.ndim - 2), str(region.row), str(region.column))
        path = Path(stored.path, *chunk)
        try:
            written = (self.output / path).read_bytes()
        except FileNotFoundError:
            raise StorageError("a shard is missing right after it was written", where=self.output / path) from None
        return Receipt(array, region, str(path), len(written), hashlib.sha256(written).hexdigest())
