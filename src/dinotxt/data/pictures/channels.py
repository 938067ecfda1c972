"""Pictures that are not 8-bit RGB: any channel count and 16 bits, by a stated mapping."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import NonNegativeInt

from dinotxt.config import configuration
from dinotxt.data.pictures.image import (
    ImageSource,
    Limits,
    decoding,
    open_content,
    source_name,
    take,
    tiff_in,
    upright,
)
from dinotxt.data.pictures.tiff import read_planes
from dinotxt.errors import DataError

_NPY_MAGIC = b"\x93NUMPY"
_DEFAULT_LIMITS = Limits()
_BYTES_A_PIXEL = 16


@configuration
class ChannelMapping:
    """Which channels a backbone sees, and which values are black and white.

    Attributes:
        channels: Positions of the channels, in order; one may repeat, so ``(0, 0, 0)`` shows a
            grey picture to an RGB backbone. None takes all of them.
        low: The value that becomes 0.
        high: The value that becomes 1; values outside are clipped.
    """

    channels: tuple[NonNegativeInt, ...] | None = None
    low: float = 0.0
    high: float = 255.0

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ValueError: If ``high`` is not above ``low``.
        """
        if not self.high > self.low:
            raise ValueError(f"high ({self.high}) must be above low ({self.low})")

    def apply(self, array: NDArray[np.generic]) -> NDArray[np.float32]:
        """Map an array ``[H, W, C]`` to float32 ``[C', H, W]`` from 0 to 1.

        Raises:
            DataError: If the array lacks one of the channels.
        """
        count = array.shape[2]
        channels = tuple(range(count)) if self.channels is None else self.channels
        if any(not 0 <= channel < count for channel in channels):
            raise DataError(f"The mapping takes channels {channels} of a picture with {count}.")
        picked = array.transpose(2, 0, 1)[list(channels)].astype(np.float32)
        picked -= np.float32(self.low)
        picked /= np.float32(self.high - self.low)
        return np.clip(np.nan_to_num(picked, copy=False), 0.0, 1.0, out=picked)


def read_array(source: ImageSource, *, limits: Limits = _DEFAULT_LIMITS) -> NDArray[np.generic]:
    """Read a picture with all its channels and bits, ``[H, W, C]`` in its own dtype.

    Args:
        source: A ``.npy`` file ``[H, W]`` or ``[H, W, C]``, such an array itself, a TIFF of any
            channel count, or any picture; grey of 16 or 32 bits keeps its values, transparency
            is a channel.
        limits: Caps on bytes and pixels.

    Raises:
        DataError: If it cannot be read.
    """
    name, content = source_name(source), take(source, limits)
    if isinstance(content, np.ndarray):
        return _checked(content, name, limits)
    if isinstance(content, Image.Image):
        return _checked(_pixels(content, name), name, limits)
    if content.startswith(_NPY_MAGIC):
        return _read_npy(content, name, limits)
    layout = tiff_in(content, name, limits)
    if layout is None or layout.fits_pillow:
        return _checked(_pixels(open_content(content, name, limits), name), name, limits)
    with decoding(name):
        planes = read_planes(content, name, _BYTES_A_PIXEL * limits.max_pixels)
    return _checked(planes, name, limits)


def _pixels(image: Image.Image, name: str) -> NDArray[np.generic]:
    with decoding(name):
        image.load()
        picture = upright(image)
        if picture.mode == "1":
            picture = picture.convert("L")
        elif picture.mode == "P":
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        return np.asarray(picture)


def _read_npy(content: bytes, name: str, limits: Limits) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:
        raise DataError(f"{name} is not a usable .npy file ({error}).") from error
    return _checked(array, name, limits)


def _checked(array: NDArray[np.generic], name: str, limits: Limits) -> NDArray[np.generic]:
    planes = array[:, :, None] if array.ndim == 2 else array
    if planes.ndim != 3 or 0 in planes.shape or planes.dtype.kind not in "uif":
        raise DataError(f"{name} is {array.dtype} {list(array.shape)}: give numbers [H, W, C].")
    if planes.shape[0] * planes.shape[1] > limits.max_pixels:
        raise DataError(f"{name} has more than {limits.max_pixels} pixels: raise the limit.")
    return planes
