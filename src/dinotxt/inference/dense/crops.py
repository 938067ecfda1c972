"""Where the crops of high-resolution inference lie (dino.txt, section 4.2).

Coordinates are shares of the picture's sides, (0, 0) is its upper left corner: of the picture, a
layout depends on the aspect alone. Crops of one size lie in a dense grid, squares before the
noise where the picture has room for them; noise on their corners makes them quadrilaterals.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Quads = NDArray[np.float64]
Matrices = NDArray[np.float64]
_WHOLE = 1 - 1e-9
_CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class CropLevel:
    """The crops of one size.

    Attributes:
        width: Their width before the noise, as a share of the picture's (the smallest of them).
        height: Their height, likewise.
        quads: ``[n, 4, 2]``, the corners (x, y), clockwise from the upper left.
    """

    width: float
    height: float
    quads: Quads


def allot(crops: int, areas: Sequence[float], shares: Sequence[float]) -> list[int]:
    """Return how many crops of each area there are, ``crops`` in all.

    Crops so few that they would not cover the picture once become crops of the next larger area,
    and the largest area has one at least.

    Args:
        crops: How many in all.
        areas: Shares of the picture's area, ascending.
        shares: Weights of the areas.
    """
    left, weight = crops, sum(shares)
    counts: list[int] = []
    carried = 0.0
    for area, share in zip(areas[:-1], shares[:-1], strict=True):
        carried += crops * share / weight
        count = min(round(carried), left - 1)
        if count * area < 1:
            count = 0
        else:
            carried -= count
        counts.append(count)
        left -= count
    return [*counts, left]


def layout(
    crops: int,
    areas: Sequence[float],
    shares: Sequence[float],
    *,
    jitter: float,
    seed: int,
    aspect: float = 1.0,
) -> list[CropLevel]:
    """Return the crops, which cover every point of the picture.

    Args:
        crops: How many in all.
        areas: Shares of the picture's area, ascending.
        shares: Weights of the areas in the number of crops.
        jitter: How far corners move at most, as a share of the crop's side; below 0.25.
        seed: Of the noise.
        aspect: Width over height of the picture.
    """
    generator = np.random.default_rng([seed, crops])
    levels = []
    for area, count in zip(areas, allot(crops, areas, shares), strict=True):
        if count:
            boxes = _boxes(count, _sides(area, aspect), jitter)
            width, height = boxes[:, 2:].min(axis=0).tolist()
            levels.append(CropLevel(width, height, _move_corners(boxes, jitter, generator)))
    return levels


def _sides(area: float, aspect: float) -> tuple[float, float]:
    """Return the shares (width, height) of a crop: a square in pixels, or as near as fits."""
    width = min(1.0, max(area, math.sqrt(area / aspect)))
    return width, area / width


def _boxes(count: int, sides: tuple[float, float], jitter: float) -> Quads:
    """Return (left, top, width, height) ``[count, 4]``, row by row.

    Neighbours overlap so far that no corner noise opens a gap; sides are larger if need be.
    """
    across, down = sides
    if min(sides) >= _WHOLE:
        return np.tile(np.array([0.0, 0.0, 1.0, 1.0]), (count, 1))
    num_rows = min(count, max(1, round(math.sqrt(count * across / down))))
    ends = np.linspace(0, count, num_rows + 1).round().astype(int)
    height = _covering_side(down, num_rows, jitter)
    rows = []
    for top, number in zip(_starts(num_rows, height), np.diff(ends), strict=True):
        width = _covering_side(across, int(number), jitter)
        rows += [(left, top, width, height) for left in _starts(int(number), width)]
    return np.array(rows)


def _covering_side(side: float, number: int, jitter: float) -> float:
    return max(side, 1 / (1 + (number - 1) * (1 - 2 * jitter)))


def _starts(number: int, side: float) -> list[float]:
    return [index * (1 - side) / max(number - 1, 1) for index in range(number)]


def _move_corners(boxes: Quads, jitter: float, generator: np.random.Generator) -> Quads:
    """Add the noise; what lies on the picture's border stays there.

    Crops of the whole picture would not move at all: only the first of them stays.
    """
    origin, size = boxes[:, None, :2], boxes[:, None, 2:]
    quads = origin + _CORNERS * size
    noise = generator.uniform(-jitter, jitter, quads.shape) * size
    whole: NDArray[np.bool_] = np.min(boxes[:, 2:], axis=1) >= _WHOLE
    whole[:1] = False
    pinned = ((quads <= 1 - _WHOLE) | (quads >= _WHOLE)) & ~whole[:, None, None]
    return np.asarray(np.clip(np.where(pinned, quads, quads + noise), 0, 1))


def square_to_quad(quads: Quads) -> Matrices:
    """Return the matrices ``[n, 3, 3]`` that take the unit square to quadrilaterals.

    Closed form of Heckbert, "Fundamentals of Texture Mapping and Image Warping" (1989), 2.2.3.

    Args:
        quads: ``[n, 4, 2]``, the images (x, y) of the corners (0, 0), (1, 0), (1, 1), (0, 1).
    """
    first, second, third, fourth = (quads[:, corner] for corner in range(4))
    right, down, twist = second - third, fourth - third, first - second + third - fourth
    area = _cross(right, down)
    g, h = _cross(twist, down) / area, _cross(right, twist) / area
    matrices = np.empty((len(quads), 3, 3))
    matrices[:, :2, 0] = second - first + g[:, None] * second
    matrices[:, :2, 1] = fourth - first + h[:, None] * fourth
    matrices[:, :2, 2] = first
    matrices[:, 2, 0], matrices[:, 2, 1], matrices[:, 2, 2] = g, h, 1.0
    return matrices


def quad_to_square(quads: Quads) -> Matrices:
    """Return the inverse matrices ``[n, 3, 3]``, whose third coordinate is positive inside."""
    inverse = np.linalg.inv(square_to_quad(quads))
    centres = np.concatenate([quads.mean(axis=1), np.ones((len(quads), 1))], axis=1)
    depth = np.einsum("ni,ni->n", inverse[:, 2], centres)
    return np.asarray(inverse / depth[:, None, None])


def quad_areas(quads: Quads) -> NDArray[np.float64]:
    """Return the areas ``[n]`` (shoelace formula)."""
    return np.asarray(np.abs(_cross(quads, np.roll(quads, -1, axis=1)).sum(axis=1)) / 2)


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
