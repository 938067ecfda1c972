import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dinotxt.inference.dense.crops import (
    CropLevel,
    allot,
    layout,
    quad_areas,
    quad_to_square,
    square_to_quad,
)
from dinotxt.inference.dense.highres import HighRes

_AREAS, _SHARES = (0.01, 0.1, 1.0), (0.775, 0.2, 0.025)


def _seen(levels: list[CropLevel], points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count the convex quadrilaterals around each point, edge by edge."""
    total = np.zeros(len(points), dtype=np.int64)
    for quad in np.concatenate([level.quads for level in levels]):
        edges = np.roll(quad, -1, axis=0) - quad
        away = points[:, None] - quad
        turns = edges[:, 0] * away[..., 1] - edges[:, 1] * away[..., 0]
        total += (turns >= -1e-12).all(axis=1)
    return total


@settings(max_examples=40)
@given(
    crops=st.integers(1, 60),
    areas=st.lists(st.floats(0.005, 1), min_size=1, max_size=3, unique=True).map(sorted),
    jitter=st.floats(0, 0.24),
    aspect=st.floats(0.05, 20),
    seed=st.integers(0, 1000),
    points=st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=50, unique=True
    ),
)
def test_every_point_is_in_a_crop(
    crops: int,
    areas: list[float],
    jitter: float,
    aspect: float,
    seed: int,
    points: list[tuple[float, float]],
) -> None:
    levels = layout(crops, areas, [1.0] * len(areas), jitter=jitter, seed=seed, aspect=aspect)
    corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    assert _seen(levels, np.array([*points, *corners])).min() >= 1
    assert sum(len(level.quads) for level in levels) == crops


def test_the_defaults_are_800_crops_of_which_40_see_a_pixel() -> None:
    mode = HighRes()
    assert mode.crops == 800
    assert 38 < mode.visits < 42
    points = np.random.default_rng(0).random((4000, 2))
    levels = layout(800, mode.areas, mode.shares, jitter=mode.jitter, seed=mode.seed)
    assert _seen(levels, points).mean() == pytest.approx(mode.visits, rel=0.03)


def test_crops_have_the_areas_that_were_asked_for() -> None:
    levels = layout(800, _AREAS, _SHARES, jitter=0, seed=0)
    sides = [np.ptp(level.quads, axis=1) for level in levels]
    for area, side in zip(_AREAS, sides, strict=True):
        assert side.prod(axis=1) == pytest.approx(area)


@pytest.mark.parametrize("aspect", [0.5, 4 / 3, 3.0])
def test_crops_are_squares_in_pixels_where_they_fit(aspect: float) -> None:
    small, middle, whole = layout(800, _AREAS, _SHARES, jitter=0, seed=0, aspect=aspect)
    assert small.width * aspect == pytest.approx(small.height)
    assert middle.width * aspect == pytest.approx(middle.height)
    assert (whole.width, whole.height) == (1, 1)


def test_crops_of_long_pictures_are_as_tall_as_the_picture() -> None:
    (level,) = layout(100, (0.1,), (1.0,), jitter=0, seed=0, aspect=20)
    assert (level.width, level.height) == pytest.approx((0.1, 1))


def test_noise_makes_quadrilaterals_inside_the_picture() -> None:
    for level in layout(800, _AREAS, _SHARES, jitter=0.2, seed=0):
        assert level.quads.min() >= 0
        assert level.quads.max() <= 1
        twist = level.quads[:, 0] - level.quads[:, 1] + level.quads[:, 2] - level.quads[:, 3]
        assert (np.abs(twist).max(axis=1) > 1e-3).mean() > 0.9  # 0 for a parallelogram


def test_the_first_crop_of_the_whole_picture_is_the_picture() -> None:
    whole = layout(800, _AREAS, _SHARES, jitter=0.1, seed=0)[-1].quads
    assert whole[0].tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert len(np.unique(whole, axis=0)) == len(whole)


@pytest.mark.parametrize(
    ("crops", "expected"),
    [(800, [620, 160, 20]), (200, [155, 40, 5]), (100, [0, 98, 2]), (5, [0, 0, 5]), (1, [0, 0, 1])],
)
def test_crops_too_few_to_cover_the_picture_become_larger(crops: int, expected: list[int]) -> None:
    assert allot(crops, _AREAS, _SHARES) == expected


def test_the_layout_is_a_function_of_the_seed_and_the_number() -> None:
    def corners(crops: int, seed: int) -> bytes:
        levels = layout(crops, _AREAS, _SHARES, jitter=0.1, seed=seed)
        return np.concatenate([level.quads for level in levels]).tobytes()

    assert corners(200, 1) == corners(200, 1)
    assert corners(200, 1) != corners(200, 2)


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
