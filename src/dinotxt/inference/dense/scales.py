"""High resolution for convolutional backbones: the picture once at each scale instead of crops.

Crops of one size see every place ten to twenty times, and a convolution says nearly the same of it
each time. One pass over the whole picture at the size that the crops have gives that for the price
of a few of them; large pictures run in tiles with a margin.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from dinotxt.inference.dense.crops import CropLevel, quad_areas
from dinotxt.inference.dense.scores import Axis, Query
from dinotxt.inference.features import Features, unit

_TILE = 896  # pixels along a side, without the margin
_CELLS = 4  # of the grid, along a side of the smallest patches


def scale_features(
    query: Query,
    scales: Iterator[tuple[CropLevel, Features]],
    shape: tuple[int, int],
    *,
    margin: int,
    normalize: bool,
    balance: bool,
) -> Features:
    """Return the mean feature of every cell of a grid, float32 ``[h, w, Dp]``.

    Args:
        query: The model.
        scales: Each size of crops, the smallest first, with the picture ``[C, H, W]`` at the size
            that makes a crop an input of the model; sides are multiples of the patch.
        shape: Rows and columns of the grid at most; a finer one than four cells to a patch of the
            first scale would tell nothing more.
        margin: Pixels around a tile that are computed and thrown away.
        normalize: Whether patches get length 1 before they are averaged.
        balance: Whether the scales count alike; else by how often their crops see a place.
    """
    sums, total = np.empty(0, dtype=np.float32), 0.0
    for level, pixels in scales:
        patches = _tiled(query, pixels, margin)
        patches = unit(patches) if normalize else patches
        weight = 1.0 if balance else float(quad_areas(level.quads).sum())
        if not total:
            near = (_CELLS * side for side in patches.shape)
            shape = min(shape[0], next(near)), min(shape[1], next(near))
            sums = np.zeros((*shape, patches.shape[-1]), dtype=np.float32)
        for axis, side in enumerate(shape):
            patches = Axis.between(patches.shape[axis], side).apply(patches, axis)
        patches *= weight
        sums += patches
        total += weight
    sums /= total
    return sums


def _tiled(query: Query, pixels: Features, margin: int) -> Features:
    """Return the patches ``[h, w, Dp]`` of a picture ``[C, H, W]``, tile by tile."""
    patch = query.encoder.towers.patch_size
    border = -(-margin // patch) * patch
    rows = []
    for top, bottom in _cuts(pixels.shape[1], patch):
        first, last = max(0, top - border), bottom + border
        row = []
        for left, right in _cuts(pixels.shape[2], patch):
            start = max(0, left - border)
            tile = pixels[:, first:last, start : right + border]
            patches = query.encode_patches(tile[None])[0]
            inside = (top - first) // patch, (left - start) // patch
            height, width = (bottom - top) // patch, (right - left) // patch
            row.append(patches[inside[0] :, inside[1] :][:height, :width])
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows)


def _cuts(side: int, patch: int) -> Sequence[tuple[int, int]]:
    """Return the ends of tiles of about one length along a side."""
    count = -(-side // _TILE)
    places = [round(number * side / count / patch) * patch for number in range(count + 1)]
    return list(pairwise(places))
