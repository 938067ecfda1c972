"""Hierarchical sampling: a budget poured top-down over a tree of clusters.

Paper section 3.2; Vo et al. 2024, "Automatic data curation for self-supervised learning". At each
node the budget is shared so that no child exceeds its size and all others get the same.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def water_fill(sizes: Integers, parents: Integers, targets: Floats) -> Floats:
    """Share each parent's target among its children: ``min(size, level of the parent)``.

    Args:
        sizes: ``[c]``, the size of each child.
        parents: ``[c]``, the parent of each child.
        targets: ``[p]``, at most the sum of the children's sizes.

    Returns:
        ``[c]`` float64; a parent's children add up to its target.
    """
    order = np.lexsort((sizes, parents))
    ordered, groups = sizes[order].astype(np.float64), parents[order]
    starts = np.searchsorted(groups, np.arange(len(targets) + 1))
    lengths = np.diff(starts)
    cumulative = np.concatenate([[0.0], np.cumsum(ordered)])
    before = cumulative[:-1] - cumulative[starts[groups]]
    remaining = lengths[groups] - (np.arange(len(ordered)) - starts[groups])
    reached = before + remaining * ordered >= targets[groups] * (1 - 1e-12)
    first = _first_true(reached, starts)
    levels = np.zeros(len(targets))
    filled = np.flatnonzero(lengths > 0)
    at = first[filled]
    levels[filled] = (targets[filled] - before[at]) / remaining[at]
    shares: Floats = np.minimum(sizes.astype(np.float64), levels[parents])
    return shares


def leaf_targets(sizes: Integers, parents: Sequence[Integers], target: float) -> Floats:
    """Return the expected number of items to keep of each leaf cluster.

    Args:
        sizes: ``[k_1]``, items of each cluster of the first level.
        parents: For each level but the last, ``[k_l]``: the cluster of level l + 1 that a
            cluster of level l belongs to.
        target: Items to keep in all.

    Raises:
        DataError: If the target exceeds the number of items.
    """
    total = int(sizes.sum())
    if not 0 <= target <= total:
        raise DataError(
            f"The target of {target:g} is more than the pool of {total} pairs: "
            "give a smaller number, or a share such as 0.65."
        )
    tree = [sizes]
    for parent in parents:
        tree.append(np.bincount(parent, weights=tree[-1]).astype(np.int64))
    root = np.zeros(len(tree[-1]), dtype=np.int64)
    targets = np.array([float(target)])
    for level_sizes, parent in zip(reversed(tree), [root, *reversed(parents)], strict=True):
        targets = water_fill(level_sizes, parent, targets)
    return targets


def leaf_probabilities(sizes: Integers, parents: Sequence[Integers], target: float) -> Floats:
    """Return the keep probability of the items of each leaf: its target over its size."""
    targets = leaf_targets(sizes, parents, target)
    return np.minimum(targets / np.maximum(sizes, 1), 1.0)


def _first_true(flags: NDArray[np.bool_], starts: Integers) -> Integers:
    """Return the position of each group's first True, or of its last item where there is none."""
    positions = np.where(flags, np.arange(len(flags)), len(flags))
    following = np.minimum.accumulate(positions[::-1])[::-1]
    following = np.concatenate([following, [len(flags)]])
    return np.minimum(following[starts[:-1]], np.maximum(starts[1:] - 1, 0))
