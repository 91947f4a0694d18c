"""What of a Zarr array can be told from its header alone, before any chunk is read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import zarr

from xaipipe import InputError
from xaipipe_readers.ngff_image import NgffImage

_MOST_BYTES = 1 << 28
"""Of a chunk, which is decoded whole."""
_MOST_CHUNKS = 1 << 20
"""In a shard, whose index is read whole."""
_CODECS = {
    *("adler32", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta", "fletcher32", "gzip", "lz4", "lzma"),
    *("packbits", "sharding_indexed", "shuffle", "transpose", "zlib", "zstd"),
}
"""Compression and checksums. Others are refused: unpickling, for one, runs whatever code the file holds."""


def channels_of(array: zarr.Array, image: NgffImage) -> int:
    return int(array.shape[image.axes.index("c")]) if "c" in image.axes else 1


def check_array(array: zarr.Array, image: NgffImage, where: object) -> None:
    """Refuse what is no picture, what would not fit in memory, and what would run code."""
    if array.ndim != len(image.axes) or 0 in array.shape:
        raise InputError(
            "the array does not fit the image's axes", got=array.shape, expected=", ".join(image.axes), where=where
        )
    for axis, length in zip(image.axes, array.shape, strict=True):
        if axis in "tz" and length != 1:
            raise InputError(
                "the slide has several " + {"t": "points in time", "z": "planes"}[axis],
                got=f"{length} along {axis}",
                expected="one",
                where=where,
                hint="write the one to be explained into a Zarr of its own",
            )
    _check_dtype(array, image, where)
    _check_chunks(array, where)
    unknown = sorted(set(_names(array.metadata.to_dict())) - _CODECS)
    if unknown:
        raise InputError(
            "the array's compression is not one that is read",
            got=", ".join(unknown),
            expected="zstd, blosc, gzip, …",
            where=where,
        )


def _check_dtype(array: zarr.Array, image: NgffImage, where: object) -> None:
    if array.dtype == np.uint8:
        return
    if array.dtype != np.uint16:
        raise InputError(
            "the array is not a picture",
            got=str(array.dtype),
            expected="uint8, or uint16 with display windows",
            where=where,
            hint='a result holds its slide where it was made with [store] image = "copy"',
        )
    if not windows(image, channels_of(array, image)):
        raise InputError(
            "nothing says how the 16 bits are to be shown",
            got="uint16 without omero windows",
            expected="a window with start and end for every channel",
            where=where,
            hint="write the slide as uint8",
        )


def windows(image: NgffImage, channels: int) -> tuple[tuple[float, float], ...]:
    """From which value to which each channel is shown; nothing where the metadata does not say it of all."""
    stated = [channel.get("window", {}) for channel in image.channels]
    found = tuple((float(w["start"]), float(w["end"])) for w in stated if "start" in w and "end" in w)
    return found if len(found) == channels and all(end > start for start, end in found) else ()


def _check_chunks(array: zarr.Array, where: object) -> None:
    size = math.prod(array.chunks) * array.dtype.itemsize
    in_shard = math.prod(array.shards) // math.prod(array.chunks) if array.shards else 1
    if size > _MOST_BYTES or in_shard > _MOST_CHUNKS:
        raise InputError(
            "the array's chunks have a size that cannot be read",
            got=f"chunks {array.chunks}, {size} bytes, {in_shard} in a shard",
            expected=f"at most {_MOST_BYTES} bytes, {_MOST_CHUNKS} in a shard",
            where=where,
        )


def _names(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Every codec's name, of Zarr 2 and 3, those inside shards too."""
    codecs = [metadata.get("compressor"), *(metadata.get("filters") or ()), *metadata.get("codecs", ())]
    for codec in codecs:
        if codec is not None:
            yield str(codec.get("id") or codec.get("name")).removeprefix("numcodecs.")
            inner = codec.get("configuration") or {}
            yield from _names({"codecs": (*inner.get("codecs", ()), *inner.get("index_codecs", ()))})
