"""Brighter versions of dark pictures, for models that were trained on daylight."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_LEAST_EXPONENT = 0.4  # beyond it noise is what becomes visible


def brighten(
    picture: Image.Image | NDArray[np.float32], brightness: float | None
) -> Image.Image | NDArray[np.float32]:
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


def _brightness(picture: Image.Image | NDArray[np.float32]) -> float:
    if isinstance(picture, Image.Image):
        pixel = picture.resize((1, 1), Image.Resampling.BOX).convert("L").getpixel((0, 0))
        assert isinstance(pixel, int)
        return pixel / 255
    return float(picture.mean())
