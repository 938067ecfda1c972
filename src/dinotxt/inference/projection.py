"""Between a picture's pixels and the squares that its crops become, many crops at a time."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from dinotxt.inference.homography import Matrices, Quads, quad_to_square, square_to_quad

Features = NDArray[np.float32]
_TILE = 32
_COARSE = 8  # cells of the grid to one of the sums that balance it; patches of a side there
_NEAR = 1e-5  # rounding at the border of a crop


@torch.inference_mode()
def warp(pixels: Features, quads: Quads, size: int) -> Features:
    """Return crops as squares, ``[n, C, size, size]``, sampled bilinearly.

    Args:
        pixels: ``[C, H, W]``, of a resolution near that of the result.
        quads: ``[n, 4, 2]``, corners as shares of the picture's sides.
        size: The side of the squares in pixels.
    """
    steps = (np.arange(size) + 0.5) / size
    places = _project(square_to_quad(quads), steps, steps)
    across, down, depth = (values.reshape(size, size, -1) for values in places)
    grid = np.stack([across / depth, down / depth], axis=-1).transpose(2, 0, 1, 3) * 2 - 1
    sampled = F.grid_sample(
        torch.from_numpy(pixels).expand(len(quads), -1, -1, -1),
        torch.from_numpy(np.ascontiguousarray(grid, dtype=np.float32)),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return np.asarray(sampled.numpy(), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Crops:
    """Patches of several crops.

    Attributes:
        patches: ``[n h w, Dp]``.
        tents: float32 ``[n h w]``, how much each counts.
        importance: float32 of the cells, how much they all count there; None: 1.
        grid: Rows h and columns w of a crop.
    """

    patches: torch.Tensor
    tents: Features
    importance: Features | None
    grid: tuple[int, int]


class FeatureGrid:
    """The mean feature of every cell of a grid over a picture, added up crop by crop.

    Args:
        height: Rows of the grid.
        width: Columns of the grid.
        dim: The width Dp of the features.
        feather: Whether patches count less towards the border of their crop, where a model sees
            but one side of what they are part of; else all count alike.

    Attributes:
        weights: float32 ``[height, width]``, the sum of the weights that each cell has so far:
            without feathering, the number of crops that see it.
    """

    def __init__(self, height: int, width: int, dim: int, *, feather: bool = False) -> None:
        self._sums = torch.zeros(height, width, dim)
        self._feather = feather
        self.weights: Features = np.zeros((height, width), dtype=np.float32)

    @torch.inference_mode()
    def add(self, quads: Quads, patches: Features, importance: Features | None = None) -> None:
        """Add crops: each cell whose centre lies in one takes its features, interpolated.

        Args:
            quads: ``[n, 4, 2]``, corners as shares of the picture's sides.
            patches: ``[n, h, w, Dp]``.
            importance: float32 ``[height, width]``, how much these crops count at each cell.
        """
        grid = patches.shape[1], patches.shape[2]
        tent = _tent(grid) if self._feather else np.ones(grid[0] * grid[1], np.float32)
        tents = np.tile(tent, len(quads))
        crops = _Crops(torch.from_numpy(patches).flatten(0, 2), tents, importance, grid)
        inverse = quad_to_square(quads)
        shape = np.array(self.weights.shape)
        low = np.floor(quads.min(axis=1)[:, ::-1] * shape).astype(int)
        high = np.ceil(quads.max(axis=1)[:, ::-1] * shape).astype(int)
        bottom, right = np.minimum(high.max(axis=0), shape)
        for top in range(int(low[:, 0].min()), int(bottom), _TILE):
            for left in range(int(low[:, 1].min()), int(right), _TILE):
                near = (low < (top + _TILE, left + _TILE)) & (high > (top, left))
                inside = np.flatnonzero(near.all(axis=1))
                if len(inside):
                    tile = np.s_[top : min(top + _TILE, bottom), left : min(left + _TILE, right)]
                    self._add_tile(tile, inverse[inside], crops, inside)

    def rarity(self, quads: Quads) -> Features:
        """Return one over what crops weigh at each cell, ``[height, width]``, to within its blur.

        Args:
            quads: ``[n, 4, 2]``, corners as shares of the picture's sides.
        """
        height, width = (max(1, side // _COARSE) for side in self.weights.shape)
        coarse = FeatureGrid(height, width, 1, feather=self._feather)
        coarse.add(quads, np.ones((len(quads), _COARSE, _COARSE, 1), dtype=np.float32))
        sums = torch.from_numpy(coarse.weights)[None, None]
        fine = F.interpolate(sums, self.weights.shape, mode="bilinear", align_corners=False)
        return np.asarray(1 / fine[0, 0].numpy(), dtype=np.float32)

    def mean(self) -> Features:
        """Return the means, float32 ``[height, width, Dp]``; the sums are used up."""
        assert self.weights.all(), "a layout of crops covers every cell"
        self._sums /= torch.from_numpy(self.weights)[..., None]
        return np.asarray(self._sums.numpy(), dtype=np.float32)

    def _add_tile(
        self,
        tile: tuple[slice, slice],
        inverse: Matrices,
        crops: "_Crops",
        inside: NDArray[np.intp],
    ) -> None:
        height, width = self.weights.shape
        rows, columns = (np.arange(part.start, part.stop) for part in tile)
        places = _project(inverse, (rows + 0.5) / height, (columns + 0.5) / width)
        indices, weights = _taps(places, crops.grid, inside)
        weights *= crops.tents[indices]
        if crops.importance is not None:
            weights *= crops.importance[tile].reshape(-1, 1)
        features = F.embedding_bag(
            torch.from_numpy(indices),
            crops.patches,
            mode="sum",
            per_sample_weights=torch.from_numpy(weights),
        )
        self._sums[tile] += features.view(len(rows), len(columns), -1)
        self.weights[tile] += weights.sum(axis=1).reshape(len(rows), len(columns))


def _tent(grid: tuple[int, int]) -> Features:
    """Return a weight for each patch, ``[h * w]``: 1 in the middle, small at the border."""
    down, across = ((np.arange(count) + 0.5) / count for count in grid)
    tents = [2 * np.minimum(places, 1 - places) for places in (down, across)]
    return np.outer(*tents).ravel().astype(np.float32)


def _project(
    matrices: Matrices, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> tuple[Features, Features, Features]:
    """Apply matrices to a grid of points; three arrays ``[rows * columns, n]``, homogeneous."""
    terms = matrices.astype(np.float32)
    down, across = (side.astype(np.float32)[:, None] for side in (rows, columns))
    first, second, third = (
        (across * terms[:, axis, 0] + (down * terms[:, axis, 1] + terms[:, axis, 2])[:, None])
        .reshape(-1, len(matrices))
        for axis in range(3)
    )  # fmt: skip
    return first, second, third


def _taps(
    places: tuple[Features, Features, Features], grid: tuple[int, int], crops: NDArray[np.intp]
) -> tuple[NDArray[np.int32], Features]:
    """Return which patches each cell takes, and with which weights.

    Args:
        places: Where the cells lie in each crop, as from `_project`, ``[P, m]`` each.
        grid: Rows and columns of patches of a crop.
        crops: ``[m]``, the positions of the crops in the batch.

    Returns:
        Patch numbers and weights ``[P, 4 m]``. Beyond the outer patches' centres the edge holds.
    """
    across, down, depth = places
    with np.errstate(divide="ignore", invalid="ignore"):
        across, down = across / depth, down / depth
        inside = (depth > 0) & (np.abs(across - 0.5) <= 0.5 + _NEAR)
        inside &= np.abs(down - 0.5) <= 0.5 + _NEAR
    indices = np.empty((*inside.shape, 4), dtype=np.int32)
    weights = np.empty((*inside.shape, 4), dtype=np.float32)
    low_row, row_share = _between(np.where(inside, down, 0), grid[0])
    low_column, column_share = _between(np.where(inside, across, 0), grid[1])
    first = crops.astype(np.int32) * (grid[0] * grid[1]) + low_row * grid[1] + low_column
    next_row, next_column = (grid[1] if grid[0] > 1 else 0), (1 if grid[1] > 1 else 0)
    for tap, (by_row, by_column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        np.add(first, by_row * next_row + by_column * next_column, out=indices[..., tap])
        vertical = row_share if by_row else 1 - row_share
        horizontal = column_share if by_column else 1 - column_share
        np.multiply(vertical * inside, horizontal, out=weights[..., tap])
    points = len(inside)
    return indices.reshape(points, -1), weights.reshape(points, -1)


def _between(places: Features, count: int) -> tuple[NDArray[np.int32], Features]:
    """Return the patch before each place from 0 to 1 and the share of the one after it."""
    centres = np.clip(places * np.float32(count) - np.float32(0.5), 0, count - 1)
    low = np.minimum(centres.astype(np.int32), max(count - 2, 0))
    return low, np.asarray(centres - low, dtype=np.float32)
