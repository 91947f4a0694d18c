"""The slide itself, copied into the result level by level, a band of shards in memory at a time."""

from __future__ import annotations

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from xaipipe import Slide
from xaipipe.running.layout import Layout
from xaipipe_store import ngff

_SHARD = 2048
_CHUNK = 512


def copy_image(root: zarr.Group, slide: Slide, layout: Layout) -> None:
    group = root.create_group("image", attributes=ngff.slide_image(slide, layout))
    for index, level in enumerate(slide.levels):
        array = group.create_array(
            str(index),
            shape=(3, level.height, level.width),
            shards=(3, _SHARD, _SHARD),
            chunks=(1, _CHUNK, _CHUNK),
            dtype="uint8",
            fill_value=255,
            compressors=(ZstdCodec(level=1), Crc32cCodec()),
            dimension_names=("c", "y", "x"),
            config={"write_empty_chunks": True},
        )
        for y in range(0, level.height, _SHARD):
            for x in range(0, level.width, _SHARD):
                h, w = min(_SHARD, level.height - y), min(_SHARD, level.width - x)
                pixels = slide.read(index, y, x, h, w)
                array[:, y : y + h, x : x + w] = np.moveaxis(pixels, 2, 0)
