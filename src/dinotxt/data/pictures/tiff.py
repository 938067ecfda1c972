"""TIFF beyond what Pillow keeps: any channel count, 16 bits and more a channel, GeoTIFF, BigTIFF.

Read by tifffile and imagecodecs (extra ``tiff``). How a file is laid out is told without them.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from dinotxt.errors import DataError, import_extra

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG = (b"II+\0", b"MM\0+")
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _SUBFILE, _FORMAT = 256, 257, 258, 277, 254, 339
_READ = (_WIDTH, _HEIGHT, _BITS, _SAMPLES, _SUBFILE, _FORMAT)
_OF_FIRST = 1 | 4  # a further image that is a small copy of the first, or says what is transparent
_MAX_CHANNELS = 1024
# Only those whose decoded size imagecodecs bounds by what the header states.
_CODINGS = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits", 50000: "zstd"}
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_IN_PILLOW = {(_UNSIGNED, bits) for bits in (1, 2, 4, 8, 16)} | {(_SIGNED, 16), (_SIGNED, 32)}
_IN_PILLOW |= {(_FLOAT, 32)}


@dataclass(frozen=True, slots=True)
class TiffLayout:
    """What the first image of a TIFF holds.

    Attributes:
        width: In pixels.
        height: In pixels.
        samples: Channels.
        bits: Of each sample.
        kind: 1 for whole numbers, 2 for signed ones, 3 for floats.
        more: Whether another image follows that is no small copy and no mask of the first.
    """

    width: int
    height: int
    samples: int
    bits: tuple[int, ...]
    kind: int
    more: bool

    @property
    def fits_pillow(self) -> bool:
        """Whether Pillow keeps all channels and bits of it."""
        if self.samples == 1:
            return (self.kind, self.bits[0]) in _IN_PILLOW
        return self.samples in (3, 4) and max(self.bits) <= 8


def tiff_layout(content: bytes) -> TiffLayout | None:
    """Return how a TIFF is laid out; None: the bytes are no TIFF.

    Raises:
        Exception: Whatever a damaged file makes Pillow raise.
    """
    if content[:4] not in _MAGIC:
        return None
    header = content[: 16 if content[:4] in _BIG else 8]
    directory, stream = TiffImagePlugin.ImageFileDirectory_v2(header), io.BytesIO(content)
    tags = _tags(directory, stream)
    more = bool(directory.next) and not _tags(directory, stream).get(_SUBFILE, (0,))[0] & _OF_FIRST
    return TiffLayout(
        width=tags[_WIDTH][0],
        height=tags[_HEIGHT][0],
        samples=tags.get(_SAMPLES, (1,))[0],
        bits=tags.get(_BITS, (1,)),
        kind=tags.get(_FORMAT, (_UNSIGNED,))[0],
        more=more,
    )


def read_planes(content: bytes, name: str, max_bytes: int) -> NDArray[np.generic]:
    """Return the first image of a TIFF, ``[H, W, C]`` in its own dtype.

    Args:
        content: The file.
        name: What an error calls it.
        max_bytes: The most that its pixels, or a strip or tile of them, may take.

    Raises:
        DataError: If it is too large or coded in a way that is not read.
        BackendError: If the extra is not installed.
        Exception: Whatever a damaged file makes tifffile raise.
    """
    tifffile = import_extra("tifffile", extra="tiff")
    import_extra("imagecodecs", extra="tiff")
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        if page.compression not in _CODINGS or page.imagedepth != 1 or page.dtype is None:
            raise DataError(
                f"{name} is a TIFF with {page.samplesperpixel} channels in a coding that is not "
                f"read ({page.compression}): save it uncompressed, as "
                f"{', '.join(sorted(set(_CODINGS.values()) - {'none'}))} or as .npy."
            )
        largest = max(page.nbytes, math.prod(page.chunks) * page.dtype.itemsize)
        if page.samplesperpixel > _MAX_CHANNELS or largest > max_bytes:
            raise DataError(
                f"{name} announces {page.samplesperpixel} channels and {largest} bytes of pixels, "
                f"more than {_MAX_CHANNELS} or {max_bytes}: cut it into smaller pictures."
            )
        array: NDArray[np.generic] = page.asarray()
    if page.axes.startswith("S"):
        array = array.transpose(1, 2, 0)
    planes = array if array.ndim == 3 else array[:, :, None]
    return planes.astype(planes.dtype.newbyteorder("="), copy=False)


def _tags(
    directory: TiffImagePlugin.ImageFileDirectory_v2, stream: io.BytesIO
) -> dict[int, tuple[int, ...]]:
    """Return the tags that tell the layout, of the next image of a file."""
    stream.seek(directory.next)
    directory.load(stream)
    found = {tag: directory[tag] for tag in _READ if tag in directory}
    return {tag: value if isinstance(value, tuple) else (value,) for tag, value in found.items()}
