import numpy as np
import pytest
from numpy.typing import NDArray

from dinotxt.inference.dense.homography import quad_areas, quad_to_square, square_to_quad

_SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=np.float64)


def _quads(count: int = 50) -> NDArray[np.float64]:
    generator = np.random.default_rng(0)
    size, origin = generator.uniform(0.05, 0.5, (2, count, 1, 2))
    noise = generator.uniform(-0.24, 0.24, (count, 4, 2))
    return np.asarray(origin + size * (_SQUARE + noise), dtype=np.float64)


def _solved(quad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find a homography from its four corners by linear equations (independent of the source)."""
    rows, values = [], []
    for (u, v), (x, y) in zip(_SQUARE, quad, strict=True):
        rows += [(u, v, 1, 0, 0, 0, -x * u, -x * v), (0, 0, 0, u, v, 1, -y * u, -y * v)]
        values += [x, y]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1).reshape(3, 3)


def test_the_closed_form_solves_the_equations_of_the_corners() -> None:
    quads = _quads()
    expected = np.stack([_solved(quad) for quad in quads])
    assert square_to_quad(quads) == pytest.approx(expected, abs=1e-9)


def test_the_inverse_takes_the_corners_back_with_positive_depth() -> None:
    quads = _quads()
    points = np.concatenate([quads, np.ones((len(quads), 4, 1))], axis=2)
    places = np.einsum("nij,nkj->nki", quad_to_square(quads), points)
    assert (places[..., 2] > 0).all()
    back = places[..., :2] / places[..., 2:]
    assert back == pytest.approx(np.broadcast_to(_SQUARE, back.shape), abs=1e-9)


def test_areas_are_those_of_the_quadrilaterals() -> None:
    quads = np.stack([_SQUARE, _SQUARE * (0.5, 0.25), _SQUARE @ np.array([(1, 1), (-1, 1)])])
    assert quad_areas(quads).tolist() == [1, 0.125, 2]
