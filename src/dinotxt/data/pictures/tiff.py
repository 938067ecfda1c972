"""A small TIFF reader for what Pillow cannot keep: any channel count, 16 bits and more a channel.

It reads strips and tiles, uncompressed or deflated, with the horizontal predictor (TIFF 6.0).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.pictures.image import Limits
from dinotxt.errors import DataError

TIFF_MAGIC = frozenset({b"II*\0", b"MM\0*"})
_FIELDS = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES = 256, 257, 258, 259, 277
_STRIPS, _ROWS, _STRIP_SIZES, _PLANAR, _PREDICTOR = 273, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_SIZES, _FORMAT = 322, 323, 324, 325, 339
_PLAIN, _DEFLATED = 1, (8, 32946)
_KINDS = {1: "u", 2: "i", 3: "f"}
_MAX_BYTES_PER_PIXEL = 1024


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the samples of a TIFF lie in the file."""

    width: int
    height: int
    samples: int
    dtype: np.dtype[np.generic]
    planar: bool
    deflated: bool
    predictor: int
    chunk: tuple[int, int]
    tiled: bool
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


def read_tiff(content: bytes, name: str, limits: Limits) -> NDArray[np.generic] | None:
    """Read the first image of a TIFF, ``[H, W, C]``, or return None if Pillow keeps all of it.

    Raises:
        DataError: If it is damaged, too large or compressed in a way that is not known here.
    """
    try:
        tags = _read_tags(content)
        samples, bits = tags.get(_SAMPLES, (1,))[0], set(tags.get(_BITS, (1,)))
        if samples == 1 or (samples in (3, 4) and max(bits) <= 8):
            return None
        layout = _layout(tags, samples, bits, name, content[:1] == b"M")
        if layout.width * layout.height > limits.max_pixels or samples > _MAX_BYTES_PER_PIXEL:
            raise DataError(f"{name} is larger than {limits.max_pixels} pixels: raise the limit.")
        return _assemble(content, layout)
    except (struct.error, ValueError, KeyError, IndexError, zlib.error) as error:
        raise DataError(f"{name} is a damaged TIFF ({error}).") from error


def _read_tags(content: bytes) -> dict[int, tuple[int, ...]]:
    order = ">" if content[:1] == b"M" else "<"
    (start,) = struct.unpack_from(order + "L", content, 4)
    (count,) = struct.unpack_from(order + "H", content, start)
    tags = {}
    for position in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHL", content, position)
        if kind not in _FIELDS or number * 4 > len(content) + 4:
            continue
        form = f"{order}{number}{_FIELDS[kind]}"
        place = position + 8
        if struct.calcsize(form) > 4:
            (place,) = struct.unpack_from(order + "L", content, place)
        tags[tag] = struct.unpack_from(form, content, place)
    return tags


def _layout(
    tags: dict[int, tuple[int, ...]], samples: int, bits: set[int], name: str, big: bool
) -> _Layout:
    compression = tags.get(_COMPRESSION, (_PLAIN,))[0]
    predictor = tags.get(_PREDICTOR, (1,))[0]
    kinds = set(tags.get(_FORMAT, (1,)))
    known = compression in (_PLAIN, *_DEFLATED) and predictor in (1, 2)
    if not known or len(bits) != 1 or len(kinds) != 1 or max(bits) % 8 or not kinds <= set(_KINDS):
        raise DataError(
            f"{name} is a TIFF with {samples} channels in a coding that is not known: save it "
            "uncompressed or deflated with equal channels, or as .npy."
        )
    width, height = tags[_WIDTH][0], tags[_HEIGHT][0]
    tiled = _TILES in tags
    rows = min(tags.get(_ROWS, (height,))[0], height)
    return _Layout(
        width=width,
        height=height,
        samples=samples,
        dtype=np.dtype(f"{'>' if big else '<'}{_KINDS[kinds.pop()]}{bits.pop() // 8}"),
        planar=tags.get(_PLANAR, (1,))[0] == 2,
        deflated=compression != _PLAIN,
        predictor=predictor,
        chunk=(tags[_TILE_HEIGHT][0], tags[_TILE_WIDTH][0]) if tiled else (rows, width),
        tiled=tiled,
        offsets=tags[_TILES if tiled else _STRIPS],
        sizes=tags[_TILE_SIZES if tiled else _STRIP_SIZES],
    )


def _assemble(content: bytes, layout: _Layout) -> NDArray[np.generic]:
    image = np.zeros((layout.height, layout.width, layout.samples), dtype=layout.dtype)
    depth = 1 if layout.planar else layout.samples
    places = zip(_places(layout), layout.offsets, layout.sizes, strict=True)
    for (plane, top, left), offset, size in places:
        rows, columns = layout.chunk
        if not layout.tiled:
            rows = min(rows, layout.height - top)
        num_bytes = rows * columns * depth * layout.dtype.itemsize
        raw = content[offset : offset + size]
        if layout.deflated:
            raw = zlib.decompressobj().decompress(raw, num_bytes)
        part = np.frombuffer(raw[:num_bytes], layout.dtype).reshape(rows, columns, depth)
        if layout.predictor == 2:
            part = np.cumsum(part, axis=1, dtype=layout.dtype)
        target = image[top : top + rows, left : left + columns, plane : plane + depth]
        target[...] = part[: target.shape[0], : target.shape[1]]
    return image.astype(layout.dtype.newbyteorder("="), copy=False)


def _places(layout: _Layout) -> Iterator[tuple[int, int, int]]:
    """Yield (plane, top, left) of each strip or tile, in the order of the file."""
    rows, columns = layout.chunk
    if rows < 1 or columns < 1:
        raise ValueError("empty strips")
    for plane in range(layout.samples if layout.planar else 1):
        for top in range(0, layout.height, rows):
            for left in range(0, layout.width, columns):
                yield plane, top, left
