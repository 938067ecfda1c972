"""Pictures so small that enlarging them to the model's own size would only blur them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dinotxt.inference.engines.towers import Towers

Array = NDArray[np.float32]


def encode_inputs(towers: Towers, pixels: Array, *, size: int, scales: Sequence[float]) -> Array:
    """Return image features ``[B, E]``.

    Inputs smaller than the model's own, those of thumbnails, are seen at other sizes, too, and
    the features are averaged: details that one size blurs another one keeps.

    Args:
        towers: The model.
        pixels: Normalised pixels of square inputs, ``[B, C, s, s]``.
        size: The side of the model's own input, which no input exceeds.
        scales: The other sizes, as multiples of s.
    """
    features = towers.encode_image(pixels)
    if pixels.shape[-1] >= size or not scales:
        return features
    least = 2 * towers.patch_size
    sides = [min(max(round(scale * pixels.shape[-1]), least), size) for scale in scales]
    views = [features, *(towers.encode_image(_resize(pixels, side)) for side in sides)]
    return np.asarray(np.mean(views, axis=0), dtype=np.float32)


def _resize(pixels: Array, side: int) -> Array:
    import torch
    from torch.nn import functional as F

    source = torch.from_numpy(pixels)
    resized = F.interpolate(source, size=(side, side), mode="bicubic", antialias=True)
    return np.asarray(resized.numpy(), dtype=np.float32)
