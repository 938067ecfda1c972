"""The vectorised warp and projection against loops over single points, written here."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dinotxt.inference.dense.crops import layout
from dinotxt.inference.dense.projection import FeatureGrid, warp

Array = NDArray[np.float64]


def _homography(quad: Array) -> Array:
    rows, values = [], []
    for (u, v), (x, y) in zip(((0, 0), (1, 0), (1, 1), (0, 1)), quad, strict=True):
        rows += [(u, v, 1, 0, 0, 0, -x * u, -x * v), (0, 0, 0, u, v, 1, -y * u, -y * v)]
        values += [x, y]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1).reshape(3, 3)


def _apply(matrix: Array, x: float, y: float) -> tuple[float, float]:
    across, down, depth = matrix @ (x, y, 1)
    return across / depth, down / depth


def _bilinear(values: NDArray[np.float32], x: float, y: float) -> Array:
    """Sample ``[h, w, D]`` at a share of its sides; the edge holds beyond the outer centres."""
    height, width = values.shape[:2]
    down = min(max(y * height - 0.5, 0), height - 1)
    across = min(max(x * width - 0.5, 0), width - 1)
    top, left = math.floor(down), math.floor(across)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    a, b = down - top, across - left
    upper = (1 - b) * values[top, left] + b * values[top, right]
    lower = (1 - b) * values[bottom, left] + b * values[bottom, right]
    return np.asarray((1 - a) * upper + a * lower, dtype=np.float64)


def _projected(quads: Array, patches: NDArray[np.float32], shape: tuple[int, int]) -> Array:
    sums = np.zeros((*shape, patches.shape[-1]))
    visits = np.zeros((*shape, 1))
    for quad, values in zip(quads, patches, strict=True):
        inverse = np.asarray(np.linalg.inv(_homography(quad)), dtype=np.float64)
        for row in range(shape[0]):
            for column in range(shape[1]):
                place = (column + 0.5) / shape[1], (row + 0.5) / shape[0]
                u, v = _apply(inverse, *place)
                if -1e-9 <= u <= 1 + 1e-9 and -1e-9 <= v <= 1 + 1e-9:
                    sums[row, column] += _bilinear(values, u, v)
                    visits[row, column] += 1
    return np.asarray(sums / visits)


def _quads(crops: int = 14) -> Array:
    levels = layout(crops, (0.15, 1.0), (0.8, 0.2), jitter=0.2, seed=3)
    return np.concatenate([level.quads for level in levels])


@pytest.mark.parametrize("grid", [(4, 5), (1, 3), (1, 1)])
@pytest.mark.parametrize("shape", [(37, 40), (1, 1), (2, 45)])
def test_projected_features_are_those_of_the_loops(
    grid: tuple[int, int], shape: tuple[int, int]
) -> None:
    quads = _quads()
    generator = np.random.default_rng(0)
    patches = generator.standard_normal((len(quads), *grid, 3), dtype=np.float32)
    ours = FeatureGrid(*shape, 3)
    for start in range(0, len(quads), 5):
        ours.add(quads[start : start + 5], patches[start : start + 5])
    expected = _projected(quads, patches, shape)
    assert ours.mean() == pytest.approx(expected, abs=2e-4)


def test_visits_count_the_crops_of_each_cell() -> None:
    quads = _quads()
    grid = FeatureGrid(60, 50, 1)
    grid.add(quads, np.ones((len(quads), 2, 2, 1), dtype=np.float32))
    assert grid.weights.min() >= 1 - 1e-5
    assert grid.weights.max() <= len(quads) + 1e-4
    assert grid.weights == pytest.approx(np.rint(grid.weights), abs=1e-4)
    assert grid.mean() == pytest.approx(1, abs=1e-5)


def test_feathered_patches_count_less_towards_the_border_of_their_crop() -> None:
    left = np.array([[(0, 0), (0.75, 0), (0.75, 1), (0, 1)]], dtype=np.float64)
    quads = np.concatenate([left, left + np.array([0.25, 0])])
    patches = np.zeros((2, 1, 6, 1), dtype=np.float32)
    patches[1] = 1
    plain, feathered = FeatureGrid(1, 8, 1), FeatureGrid(1, 8, 1, feather=True)
    plain.add(quads, patches)
    feathered.add(quads, patches)
    assert plain.mean()[0, :, 0].tolist() == pytest.approx([0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1])
    tent = np.array([1, 3, 5, 5, 3, 1]) / 6
    shares = [tent[k] / (tent[k] + tent[k + 2]) for k in range(4)]
    assert feathered.mean()[0, :, 0].tolist() == pytest.approx([0, 0, *shares, 1, 1], abs=1e-5)


def test_a_warped_crop_samples_the_picture_as_the_loops_do() -> None:
    picture = np.random.default_rng(0).standard_normal((2, 21, 17), dtype=np.float32)
    quads = _quads(6)
    ours = warp(picture, quads, 8)
    assert ours.shape == (6, 2, 8, 8)
    for quad, square in zip(quads, ours, strict=True):
        matrix = _homography(quad)
        for row in range(8):
            for column in range(8):
                place = _apply(matrix, (column + 0.5) / 8, (row + 0.5) / 8)
                expected = _bilinear(picture.transpose(1, 2, 0), *place)
                assert square[:, row, column] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("feather", [False, True])
def test_crops_added_together_or_one_by_one_have_the_same_means(feather: bool) -> None:
    generator = np.random.default_rng(0)
    (level,) = layout(9, (0.2,), (1.0,), jitter=0.1, seed=0)
    patches = generator.standard_normal((9, 3, 4, 5), dtype=np.float32)
    together, apart = (FeatureGrid(70, 45, 5, feather=feather) for _ in range(2))
    together.add(level.quads, patches)
    for place in range(9):
        apart.add(level.quads[place : place + 1], patches[place : place + 1])
    np.testing.assert_allclose(together.weights, apart.weights, rtol=1e-5)
    np.testing.assert_allclose(together.mean(), apart.mean(), atol=1e-5)
