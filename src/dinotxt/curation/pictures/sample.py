"""Image balancing: keep probabilities of pairs from the clusters of their pictures (section 3.2).

``sample/NAME.npy`` is float32, the keep probability of each pair of a table, in its order. The
size of a cluster is its number of pairs, so that a picture that comes often counts as often.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.cluster import Block
from dinotxt.curation.config import CurationConfig
from dinotxt.curation.engine import Engine
from dinotxt.curation.pictures.cluster import embedding_blocks, level_parents, level_sizes
from dinotxt.curation.pictures.embed import NOT_FINITE, UNREADABLE, ZERO
from dinotxt.curation.pictures.near_duplicates import near_duplicates
from dinotxt.curation.pool import read_rows, save_array, table_paths
from dinotxt.curation.stage import StageFolder, StageReport, add_reasons, read_report
from dinotxt.errors import DataError

STAGE = "sample"
NO_VECTOR = f"{UNREADABLE}, {NOT_FINITE} or {ZERO}"
NEAR_DUPLICATE = "near-duplicate picture"
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What every task knows; arrays over all clusters or rows stay in files."""

    root: Path
    blocks: Sequence[Block]

    def load(self, name: str) -> NDArray[Any]:
        """Map an array of this stage."""
        array: NDArray[Any] = np.load(self.root / STAGE / f"{name}.npy", mmap_mode="r")
        return array


def sample_pictures(config: CurationConfig, engine: Engine) -> StageReport:
    """Share the target among the clusters, top-down, and write every pair's keep probability.

    Raises:
        DataError: If the target is larger than the pool.
    """
    root, settings = config.output, config.image
    folder = StageFolder(
        root,
        STAGE,
        config={"target": settings.target, "near_duplicates": settings.near_duplicates},
        after=["pairs", "embed", "cluster"],
    )
    if finished := folder.finished():
        return finished
    tables = table_paths(root, read_report(root, "pairs"))
    blocks = embedding_blocks(root)
    save_array(folder.path / "dropped.npy", _dropped(config, blocks, engine))
    known = _Known(root=root, blocks=blocks)
    sizes = np.zeros(settings.levels[0], dtype=np.int64)
    num_pairs = 0
    for clusters, counts, pairs in engine.map(partial(_count_table, known=known), tables):
        sizes[clusters] += counts
        num_pairs += pairs
    target = _target(settings.target, num_pairs, int(sizes.sum()))
    parents = level_parents(root / "cluster", len(settings.levels))
    probabilities = leaf_probabilities(sizes, parents, target)
    save_array(folder.path / "clusters.npy", probabilities)
    save_array(folder.path / "sizes.npy", sizes)
    results = list(engine.map(partial(_write_table, known=known), tables))
    reasons = add_reasons(result[0] for result in results)
    return folder.finish(
        StageReport(
            stage=STAGE,
            n_in=num_pairs,
            n_out=num_pairs - sum(reasons.values()),
            reasons=reasons,
            files=folder.relative(folder.path / f"{table.stem}.npy" for table in tables),
            details={
                "target": target,
                "expected": float(sum(result[1] for result in results)),
                "head": _head(sizes, probabilities),
            },
        )
    )


def _target(target: float, num_pairs: int, usable: int) -> float:
    """Return the number of pairs to keep; a share is one of the usable pairs."""
    if target <= 1:
        return target * usable
    if target > usable:
        raise DataError(
            f"image.target is {target:g}, but the pool has {usable} usable pairs of {num_pairs}: "
            "give a smaller number, or a share such as 0.65."
        )
    return target


def _dropped(config: CurationConfig, blocks: Sequence[Block], engine: Engine) -> NDArray[np.int64]:
    if config.image.near_duplicates is None:
        return np.empty(0, dtype=np.int64)
    level = config.output / "cluster" / "level-1"
    sizes = level_sizes(level, blocks, config.image.levels[0])
    return near_duplicates(blocks, level / "labels", sizes, config.image.near_duplicates, engine)


def pair_clusters(
    root: Path, table: Path, blocks: Sequence[Block]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the first-level cluster of each pair of a table, and whether it has a vector at all.

    Args:
        root: The output folder of the curation.
        table: Of the pool.
        blocks: All vectors.
    """
    rows = _rows(root, table)
    has_vector = rows >= 0
    wanted, places = np.unique(rows[has_vector], return_inverse=True)
    labels = read_rows(root / "cluster" / "level-1" / "labels", blocks, wanted)
    clusters = np.zeros(len(rows), dtype=np.int32)
    clusters[has_vector] = labels[places]
    return clusters, has_vector


def _rows(root: Path, table: Path) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = np.load(root / "embed" / f"{table.stem}.rows.npy")
    return rows


def _clusters(
    table: Path, known: _Known
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return each pair's cluster, whether it has a vector, and whether that is a duplicate."""
    clusters, has_vector = pair_clusters(known.root, table, known.blocks)
    duplicate = has_vector & np.isin(_rows(known.root, table), known.load("dropped"))
    return clusters, has_vector, duplicate


def _count_table(table: Path, *, known: _Known) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
    """Return (clusters, usable pairs of each, all pairs) of a table."""
    clusters, has_vector, duplicate = _clusters(table, known)
    found, counts = np.unique(clusters[has_vector & ~duplicate], return_counts=True)
    return found, counts, len(clusters)


def _write_table(table: Path, *, known: _Known) -> tuple[dict[str, int], float]:
    clusters, has_vector, duplicate = _clusters(table, known)
    keep = np.where(has_vector & ~duplicate, known.load("clusters")[clusters], 0.0)
    save_array(known.root / STAGE / f"{table.stem}.npy", keep.astype(np.float32))
    reasons = {NO_VECTOR: int((~has_vector).sum()), NEAR_DUPLICATE: int(duplicate.sum())}
    return reasons, float(keep.sum())


def _head(sizes: NDArray[np.int64], probabilities: NDArray[np.float64]) -> list[dict[str, float]]:
    """Return the largest clusters with their pairs before and after."""
    order = np.argsort(-sizes, kind="stable")[:50]
    return [
        {
            "cluster": int(index),
            "before": int(sizes[index]),
            "after": round(float(sizes[index] * probabilities[index]), 1),
        }
        for index in order
        if sizes[index]
    ]


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
    for of_level, parent in zip(reversed(tree), [root, *reversed(parents)], strict=True):
        targets = water_fill(of_level, parent, targets)
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
