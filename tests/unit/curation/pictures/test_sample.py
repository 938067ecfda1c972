"""Water-filling against a bisection of its cut, over trees of any shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dinotxt.curation.pictures.sample import leaf_probabilities, leaf_targets, water_fill
from dinotxt.errors import DataError


def _cut(sizes: NDArray[np.int64], target: float) -> NDArray[np.float64]:
    """Find the level by bisection."""
    low, high = 0.0, float(sizes.max(initial=0))
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() < target else (low, middle)
    return np.minimum(sizes, high)


def _brute(
    sizes: NDArray[np.int64], parents: list[NDArray[np.int64]], target: float
) -> list[float]:
    """Pour the target down the tree, one node at a time."""
    tree = [sizes]
    for parent in parents:
        tree.append(np.array([tree[-1][parent == i].sum() for i in range(parent.max() + 1)]))
    targets = _cut(tree[-1], target)
    for level in range(len(parents) - 1, -1, -1):
        below = np.zeros(len(tree[level]))
        for node, share in enumerate(targets):
            children = np.flatnonzero(parents[level] == node)
            below[children] = _cut(tree[level][children], float(share))
        targets = below
    return list(targets)


@st.composite
def trees(draw: st.DrawFn) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    sizes = np.array(draw(st.lists(st.integers(0, 30), min_size=1, max_size=14)))
    parents, width = [], len(sizes)
    for _ in range(draw(st.integers(0, 2))):
        above = draw(st.integers(1, max(width // 2, 1)))
        chosen = draw(st.lists(st.integers(0, above - 1), min_size=width, max_size=width))
        parent = np.unique(np.array(chosen), return_inverse=True)[1].astype(np.int64)
        parents.append(parent)
        width = int(parent.max()) + 1
    return sizes, parents


@given(trees(), st.floats(0, 1))
def test_targets_are_those_of_a_bisection_node_by_node(
    tree: tuple[NDArray[np.int64], list[NDArray[np.int64]]], share: float
) -> None:
    sizes, parents = tree
    target = share * sizes.sum()
    found = leaf_targets(sizes, parents, target)
    np.testing.assert_allclose(found, _brute(sizes, parents, target), atol=1e-6)
    assert found.sum() == pytest.approx(target, abs=1e-6)
    assert (found <= sizes + 1e-9).all()


def test_siblings_share_evenly_and_small_ones_keep_all() -> None:
    sizes = np.array([10, 2, 30])
    shares = water_fill(sizes, np.zeros(3, dtype=np.int64), np.array([20.0]))
    assert shares.tolist() == [9, 2, 9]


def test_a_parent_without_children_or_points_takes_nothing() -> None:
    shares = water_fill(np.array([0, 4]), np.array([0, 2]), np.array([0.0, 0.0, 3.0]))
    assert shares.tolist() == [0, 3]


def test_probability_is_the_target_over_the_size() -> None:
    probabilities = leaf_probabilities(np.array([10, 2, 0]), [], 7.0)
    assert probabilities.tolist() == [0.5, 1.0, 0.0]


def test_the_whole_pool_is_kept_when_the_target_is_the_pool() -> None:
    sizes = np.array([3, 5, 7, 1])
    parents = [np.array([0, 0, 1, 1])]
    assert leaf_probabilities(sizes, parents, 16.0).tolist() == [1, 1, 1, 1]


def test_a_target_larger_than_the_pool_is_an_error() -> None:
    with pytest.raises(DataError, match="pool of 16 pairs"):
        leaf_targets(np.array([16]), [], 17)
