"""Homographies between the unit square and quadrilaterals, many at a time."""

import numpy as np
from numpy.typing import NDArray

Quads = NDArray[np.float64]
Matrices = NDArray[np.float64]


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
