"""Small sound files of every kind that is read without openslide, and hostile ones made by hand."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from xaipipe.testing import striped_pixels

PIXELS = striped_pixels(200, 264)
_SIDE = 8192
"""Of a bomb's tiles: 192 MiB of pixels each, in some kilobytes."""


def sound(folder: Path) -> dict[str, bytes]:
    """By name."""
    files = {
        "grey.png": imagecodecs.png_encode(np.ascontiguousarray(PIXELS[:, :, 2])),
        "colour.png": imagecodecs.png_encode(PIXELS),
        "clear.png": imagecodecs.png_encode(np.dstack([PIXELS, PIXELS[:, :, 2]])),
        "deep.png": imagecodecs.png_encode(PIXELS.astype(np.uint16) * 257),
        "colour.jpg": imagecodecs.jpeg8_encode(PIXELS, level=80),
        "grey.jpg": imagecodecs.jpeg8_encode(np.ascontiguousarray(PIXELS[:, :, 2]), level=80),
        "colour.bmp": imagecodecs.bmp_encode(PIXELS),
    }
    for compression in ("none", "jpeg", "deflate", "lzw", "zstd", "jpeg2000", "packbits"):
        files[f"{compression}.tif"] = tiled(folder / "a.tif", compression, bigtiff=compression == "zstd")
    files["aperio.svs"] = tiled(
        folder / "a.svs", "jpeg", "Aperio Image Library v11\n200x264 JPEG|AppMag = 20|MPP = 0.5"
    )
    files["slide.ome.tif"] = ome(folder / "a.ome.tif")
    tifffile.imwrite(folder / "strips.tif", PIXELS, photometric="rgb", rowsperstrip=16, compression="deflate")
    files["strips.tif"] = (folder / "strips.tif").read_bytes()
    return files


def tiled(path: Path, compression: str, description: str | None = None, bigtiff: bool = False) -> bytes:
    """A pyramid of two levels."""
    options = {"tile": (64, 64), "photometric": "rgb", "metadata": None}
    options["compression"] = None if compression == "none" else compression
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as tif:
        tif.write(PIXELS, description=description, resolution=(20000, 20000), resolutionunit="CENTIMETER", **options)
        tif.write(np.ascontiguousarray(PIXELS[::4, ::4]), subfiletype=1, **options)
    return path.read_bytes()


def ome(path: Path) -> bytes:
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "zstd"}
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(PIXELS, subifds=1, metadata={"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}, **options)
        tif.write(np.ascontiguousarray(PIXELS[::4, ::4]), subfiletype=1, **options)
    return path.read_bytes()


def hostile(folder: Path) -> dict[str, bytes]:
    """Bombs that are small on disk, headers that promise what is not there, directories that run in a circle."""
    files = {f"bomb-{name}.tif": bomb(folder / "bomb.tif", name) for name in ("deflate", "zstd")}
    files["bomb.png"] = png(18_000, 18_000, 8, 2, deflated(b"\0" * (18_000 * 3 + 1), 18_000))
    files["promise.png"] = png(32_000, 32_000, 8, 6, b"")
    files["promise-16.png"] = png(30_000, 30_000, 16, 6, zlib.compress(b"\0" * 1000))
    jpeg = bytearray(imagecodecs.jpeg8_encode(PIXELS, level=80))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 32_000, 32_000)
    files["promise.jpg"] = bytes(jpeg)
    files["promise.bmp"] = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 90, 0, 0, 54, 40, 30_000, 30_000, 1, 24, *(0,) * 6)
    files["circle.tif"] = circle(tiled(folder / "a.tif", "deflate"))
    files["many.tif"] = many_pages(folder / "many.tif")
    return files


def bomb(path: Path, compression: str) -> bytes:
    """Four tiles, all the same, and as large as tiles may be."""
    pixels = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    encode = {"deflate": imagecodecs.deflate_encode, "zstd": imagecodecs.zstd_encode}[compression]
    tile = encode(pixels, level=1)
    options = {"tile": (_SIDE, _SIDE), "photometric": "rgb", "compression": compression, "dtype": np.uint8}
    tifffile.imwrite(path, iter([tile] * 4), shape=(2 * _SIDE, 2 * _SIDE, 3), **options)
    return path.read_bytes()


def deflated(row: bytes, rows: int) -> bytes:
    """Many equal rows, without ever holding them all."""
    press = zlib.compressobj(1)
    return b"".join([*(press.compress(row) for _ in range(rows)), press.flush()])


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """With sums that are right, whatever the header says."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def circle(tiff: bytes) -> bytes:
    """The last directory names the first as the next."""
    data = bytearray(tiff)
    first = position = struct.unpack_from("<I", data, 4)[0]
    while True:
        (entries,) = struct.unpack_from("<H", data, position)
        link = position + 2 + 12 * entries
        (following,) = struct.unpack_from("<I", data, link)
        if not following:
            struct.pack_into("<I", data, link, first)
            return bytes(data)
        position = following


def many_pages(path: Path) -> bytes:
    with tifffile.TiffWriter(path) as tif:
        for _ in range(300):
            tif.write(np.zeros((16, 16, 3), np.uint8), tile=(16, 16), photometric="rgb", metadata=None)
    return path.read_bytes()
