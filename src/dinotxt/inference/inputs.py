"""From pictures to model inputs: sizes in multiples of the patch, windows, and dark pictures."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.pictures import Picture, picture_size
from dinotxt.errors import ConfigError
from dinotxt.inference.engines import SquareTowers, Towers

LONGEST_SHARE = 2048 / 448  # the protocol of TCL caps the long side at 2048 for a short one of 448
_LEAST_EXPONENT = 0.4  # beyond it noise is what becomes visible


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels.

    Attributes:
        top: First row.
        left: First column.
        height: Number of rows.
        width: Number of columns.
    """

    top: int
    left: int
    height: int
    width: int


def check_size(size: int, patch_size: int) -> None:
    """Refuse inputs of a single patch, which says the same of every pixel or nothing at all.

    Args:
        size: The side of an input, in pixels.
        patch_size: The model's.

    Raises:
        ConfigError: If the side is shorter than two patches.
    """
    least = 2 * patch_size
    if size < least:
        message = f"size is {size}, less than two of the model's patches of {patch_size} pixels"
        raise ConfigError(f"{message}: give at least {least}.")


def scaled_size(picture: Picture, short: int) -> tuple[int, int]:
    """Return (width, height) with the short side at ``short`` and the aspect kept.

    The long side is at most 2048 / 448 times ``short``; the short one is smaller then.
    """
    width, height = picture_size(picture)
    scale = min(short / min(width, height), LONGEST_SHARE * short / max(width, height))
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))


def fit_whole(picture: Picture, short: int, multiple_of: int) -> tuple[int, int]:
    """Return (width, height) as ``scaled_size``, rounded to the nearest multiples."""
    width, height = scaled_size(picture, short)
    return to_multiple(width, multiple_of), to_multiple(height, multiple_of)


def whole_input(towers: Towers, picture: Picture, short: int) -> tuple[int, int]:
    """Return the (width, height) of a whole picture as a model takes it.

    The short side is near ``short`` and the aspect kept, or it is the square nearest to it where
    the model takes squares alone.
    """
    if isinstance(towers, SquareTowers):
        return _nearest_square(towers, short)
    return fit_whole(picture, short, towers.patch_size)


def window_input(
    towers: Towers, width: int, height: int, *, larger: bool = False
) -> tuple[int, int]:
    """Return the (width, height) nearest to a window's that a model takes, or the next larger."""
    if isinstance(towers, SquareTowers):
        return _nearest_square(towers, max(width, height))
    size = towers.patch_size
    if larger:
        return math.ceil(width / size) * size, math.ceil(height / size) * size
    return to_multiple(width, size), to_multiple(height, size)


def _nearest_square(towers: SquareTowers, side: int) -> tuple[int, int]:
    nearest = min(towers.sizes, key=lambda size: abs(size - side))
    return nearest, nearest


def to_multiple(side: int, multiple_of: int) -> int:
    """Return the nearest multiple, at least one."""
    return max(1, round(side / multiple_of)) * multiple_of


def windows(width: int, height: int, size: int, stride: int) -> list[Window]:
    """Return the windows that cover a picture, row by row; the last ones are shifted inwards.

    A side that is shorter than ``size`` has one window of its own length (mmseg's sliding test).
    """
    across, down = min(size, width), min(size, height)
    return [
        Window(top, left, down, across)
        for top in _starts(height, size, stride)
        for left in _starts(width, size, stride)
    ]


def _starts(side: int, size: int, stride: int) -> list[int]:
    count = max(side - size + stride - 1, 0) // stride + 1
    return [max(min(index * stride, side - size), 0) for index in range(count)]


def brighten(picture: Picture, brightness: float | None) -> Picture:
    """Return a picture with a gamma curve that takes its mean brightness to another one.

    Args:
        picture: An RGB picture, or channels ``[C, H, W]`` from 0 to 1.
        brightness: The mean to reach, between 0 and 1; brighter pictures stay as they are,
            with None all do.
    """
    if brightness is None:
        return picture
    mean = _brightness(picture)
    if mean >= brightness:
        return picture
    exponent = max(math.log(brightness) / math.log(max(mean, 1e-3)), _LEAST_EXPONENT)
    if isinstance(picture, Image.Image):
        curve = [round(255 * (level / 255) ** exponent) for level in range(256)]
        return picture.point(curve * len(picture.getbands()))
    return np.asarray(np.power(np.clip(picture, 0, 1), exponent), dtype=np.float32)


def _brightness(picture: Picture) -> float:
    if isinstance(picture, Image.Image):
        pixel = picture.resize((1, 1), Image.Resampling.BOX).convert("L").getpixel((0, 0))
        assert isinstance(pixel, int)
        return pixel / 255
    return float(picture.mean())


def squares(pixels: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Resize pixels ``[B, C, H, W]`` to squares, bicubic, each channel as a picture of floats."""
    size, how = (side, side), Image.Resampling.BICUBIC
    rows = [[Image.fromarray(one).resize(size, how) for one in picture] for picture in pixels]
    return np.stack([np.stack([np.asarray(one) for one in row]) for row in rows])
