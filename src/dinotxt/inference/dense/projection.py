"""Between a picture's pixels and the squares that its crops become, many crops at a time."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from dinotxt.inference.dense.crops import Matrices, Quads, quad_to_square, square_to_quad

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
    grid = np.empty((len(quads), size, size, 2), dtype=np.float32)
    for square, matrix in zip(grid, square_to_quad(quads), strict=True):
        across, down, depth = _project(matrix[None], steps, steps)
        np.divide(across, depth, out=square.reshape(-1, 2)[:, :1])
        np.divide(down, depth, out=square.reshape(-1, 2)[:, 1:])
    grid *= 2
    grid -= 1
    sampled = F.grid_sample(
        torch.from_numpy(pixels).expand(len(quads), -1, -1, -1),
        torch.from_numpy(grid),
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
        importance: float32 of the cells, how much they all count there; None: 1.
        grid: Rows h and columns w of a crop.
        tents: float32 ``[h]`` and ``[w]``, the factors of how much each patch counts.
    """

    patches: torch.Tensor
    importance: Features | None
    grid: tuple[int, int]
    tents: tuple[Features, Features]


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
        self._sums = torch.empty(height, width, dim)
        self._begun = np.zeros((-(-height // _TILE), -(-width // _TILE)), dtype=bool)
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
        down, across = (
            _tent(count) if self._feather else np.ones(count, np.float32) for count in grid
        )
        flat = torch.from_numpy(patches).flatten(0, 2)
        crops = _Crops(flat, importance, grid, (down, across))
        inverse = quad_to_square(quads)
        shape = np.array(self.weights.shape)
        low = np.floor(quads.min(axis=1)[:, ::-1] * shape).astype(int)
        high = np.ceil(quads.max(axis=1)[:, ::-1] * shape).astype(int)
        first, last = low.min(axis=0) // _TILE, -(-high.max(axis=0) // _TILE)
        for row in range(first[0], min(last[0], self._begun.shape[0])):
            for column in range(first[1], min(last[1], self._begun.shape[1])):
                corner = np.array([row, column]) * _TILE
                inside = np.flatnonzero(((low < corner + _TILE) & (high > corner)).all(axis=1))
                if len(inside):
                    self._add_tile((row, column), inverse[inside], crops, inside.astype(np.int32))

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
        self, place: tuple[int, int], inverse: Matrices, crops: _Crops, numbers: NDArray[np.int32]
    ) -> None:
        height, width = self.weights.shape
        tile = tuple(
            slice(at * _TILE, min((at + 1) * _TILE, side))
            for at, side in zip(place, (height, width), strict=True)
        )
        rows, columns = (np.arange(part.start, part.stop) for part in tile)
        places = _project(inverse, (rows + 0.5) / height, (columns + 0.5) / width)
        hits, counts = _hits(places)
        cells = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        which = hits - cells * len(numbers)
        across, down, depth = (values.ravel().take(hits) for values in places)
        low_row, by_row = _between(down / depth, crops.tents[0])
        low_column, by_column = _between(across / depth, crops.tents[1])
        if crops.importance is not None:
            by_row *= crops.importance[tile].ravel().take(cells)
        first = (numbers.take(which) * crops.grid[0] + low_row) * crops.grid[1] + low_column
        indices, weights = _taps(first, by_row, by_column, crops.grid)
        starts = 4 * (np.cumsum(counts) - counts)
        features = F.embedding_bag(
            torch.from_numpy(indices.ravel()),
            crops.patches,
            torch.from_numpy(starts.astype(np.int32)),
            mode="sum",
            per_sample_weights=torch.from_numpy(weights.ravel()),
        ).view(len(rows), len(columns), -1)
        if self._begun[place]:
            self._sums[tile] += features
        else:
            self._sums[tile] = features
            self._begun[place] = True
        totals = (by_row[0] + by_row[1]) * (by_column[0] + by_column[1])
        sums = np.bincount(cells, totals, minlength=len(counts))
        self.weights[tile] += sums.reshape(len(rows), len(columns)).astype(np.float32)


def _tent(count: int) -> Features:
    """Return a weight for each of some patches in a row: 1 in the middle, small at the ends."""
    places = (np.arange(count) + 0.5) / count
    return (2 * np.minimum(places, 1 - places)).astype(np.float32)


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


def _hits(
    places: tuple[Features, Features, Features],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return which of ``[P, m]`` cells and crops meet, and how many crops each cell meets.

    Returns:
        Places in the flat array, ascending, and counts ``[P]``.
    """
    across, down, depth = places
    least, most = -_NEAR * depth, (1 + _NEAR) * depth
    inside = (across >= least) & (across <= most) & (down >= least) & (down <= most)
    inside &= depth > 0
    counts = np.count_nonzero(inside, axis=1)
    return np.flatnonzero(inside).astype(np.int32), counts.astype(np.int32)


def _taps(
    first: NDArray[np.int32],
    by_row: Features,
    by_column: Features,
    grid: tuple[int, int],
) -> tuple[NDArray[np.int32], Features]:
    """Return the four patches of each hit and their weights, ``[N, 4]``.

    Args:
        first: ``[N]``, the upper left patch.
        by_row: ``[2, N]``, the weights of its row and the next one.
        by_column: ``[2, N]``, likewise.
        grid: Rows and columns of patches of a crop; the next patch is the same where there is one.
    """
    below, right = (grid[1] if grid[0] > 1 else 0), (1 if grid[1] > 1 else 0)
    indices = np.empty((len(first), 4), dtype=np.int32)
    weights = np.empty((len(first), 4), dtype=np.float32)
    for tap, (row, column) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        np.add(first, np.int32(row * below + column * right), out=indices[:, tap])
        np.multiply(by_row[row], by_column[column], out=weights[:, tap])
    return indices, weights


def _between(places: Features, tent: Features) -> tuple[NDArray[np.int32], Features]:
    """Return the patch before each place from 0 to 1, and what it and the next one weigh.

    Beyond the outer patches' centres the edge holds.

    Returns:
        ``[N]`` and ``[2, N]``.
    """
    count = len(tent)
    centres = places * np.float32(count)
    centres -= np.float32(0.5)
    np.clip(centres, 0, count - 1, out=centres)
    low = np.minimum(centres.astype(np.int32), max(count - 2, 0))
    weights = np.empty((2, len(places)), dtype=np.float32)
    np.subtract(centres, low, out=weights[1], casting="same_kind")
    np.subtract(1, weights[1], out=weights[0])
    weights[0] *= tent.take(low)
    weights[1] *= np.append(tent[1:], tent[-1:]).take(low)
    return low, weights
