"""One level of clusters: k-means, then k-means again on the points nearest to each centroid.

Paper section 3.2; resampling after Vo et al. 2024: it spreads the centroids more evenly over the
space. A level of more than 8,192 clusters, or of more than 64 MiB of sums, goes through `split`.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.cluster import Block, Lloyd, Vectors, blocks_of, kmeans, nearest, width_of
from dinotxt.curation.engine import Engine
from dinotxt.curation.pool import block_path, save_array, save_parts

MAX_CENTROIDS = 8192  # of one task
_MAX_BYTES = 64 << 20  # that travel: the float64 sums and the count of each centroid
_MAX_POINTS = 256  # a cluster, of a sample: more would not move its mean, but would have to travel

_SAVE_SECONDS = 20.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelPlan:
    """What to cluster, how, and where to put it.

    Attributes:
        blocks: The vectors, or the centroids of the level below.
        k: The number of clusters.
        folder: Gets ``centroids.npy`` and ``labels/block-N.npy`` (int32).
        seed: The key of the level.
        lloyd: How long to iterate.
        resamplings: How often to cluster again.
        points: Points a cluster then; None takes those of `sample_points`.
    """

    blocks: Sequence[Block]
    k: int
    folder: Path
    seed: tuple[int, ...]
    lloyd: Lloyd
    resamplings: int
    points: int | None

    @property
    def work(self) -> Path:
        """The folder of unfinished results."""
        return self.folder / "work"

    @property
    def num_points(self) -> int:
        """The number of vectors."""
        return sum(len(block) for block in self.blocks)


class FileCheckpoint:
    """The state of k-means in a file, written at most every 20 seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = time.monotonic()

    def load(self) -> tuple[int, float, NDArray[np.float32]] | None:
        """Return (iterations done, inertia, centroids), or None at the start."""
        if not self._path.exists():
            return None
        stored: NDArray[np.float64] = np.load(self._path)
        return int(stored[0, 0]), float(stored[0, 1]), stored[1:].astype(np.float32)

    def save(self, iteration: int, inertia: float, centroids: NDArray[np.float32]) -> None:
        """Keep the state if the last one is old."""
        if time.monotonic() - self._last < _SAVE_SECONDS:
            return
        head = np.zeros((1, max(centroids.shape[1], 2)))
        head[0, :2] = iteration, inertia
        body = np.zeros((len(centroids), head.shape[1]))
        body[:, : centroids.shape[1]] = centroids
        save_array(self._path, np.concatenate([head, body]))
        self._last = time.monotonic()


def most_centroids(width: int) -> int:
    """Return how many centroids of a width one task may hold."""
    return max(min(MAX_CENTROIDS, _MAX_BYTES // (8 * (width + 1))), 1)


def needs_split(k: int, width: int) -> bool:
    """Tell if k centroids of a width are too many for one task."""
    return k > most_centroids(width)


def num_cells(k: int, width: int) -> int:
    """Return how many cells a split of k clusters has: about the root of k.

    There are enough of them that a cell gets half of what a task may hold, so that cells with
    twice the points of the others need not be cut short.
    """
    return max(round(math.sqrt(k)), -(-2 * k // most_centroids(width)))


def sample_points(num_points: int, k: int) -> int:
    """Return how many points a cluster a level is resampled with: half the mean, at most 256."""
    return min(num_points // (2 * k), _MAX_POINTS)


def direct_level(plan: LevelPlan, engine: Engine) -> None:
    """Cluster a level of at most 8,192 clusters and label all of its points."""
    centroids = _centroids(plan, engine)
    assign = partial(_write_labels, centroids=centroids, folder=plan.folder / "labels")
    for _ in engine.map(partial(assign, device=plan.lloyd.device), plan.blocks):
        pass
    save_array(plan.folder / "centroids.npy", centroids)


def run_kmeans(
    plan: LevelPlan, blocks: Sequence[Block], k: int, number: int, engine: Engine
) -> NDArray[np.float32]:
    """Run k-means number ``number`` of a level, or return what it gave before."""
    path = plan.work / f"centroids-{number}.npy"
    if path.exists():
        stored: NDArray[np.float32] = np.load(path)
        return stored
    result = kmeans(
        blocks,
        k,
        seed=(*plan.seed, number),
        lloyd=plan.lloyd,
        mapper=engine.map,
        checkpoint=FileCheckpoint(plan.work / f"checkpoint-{number}.npy"),
    )
    _log.info("k=%d run %d: %d iterations", k, number, result.num_iterations)
    save_array(path, result.centroids)
    return result.centroids


def _centroids(plan: LevelPlan, engine: Engine) -> NDArray[np.float32]:
    centroids = run_kmeans(plan, plan.blocks, plan.k, 0, engine)
    points = plan.points or sample_points(plan.num_points, plan.k)
    if points <= 1:
        return centroids
    for number in range(1, plan.resamplings + 1):
        if (plan.work / f"centroids-{number}.npy").exists():
            centroids = np.load(plan.work / f"centroids-{number}.npy")
            continue
        rows = _closest_rows(plan, centroids, points, engine)
        if len(rows) < plan.k:  # identical points: nothing to choose from
            break
        sample = plan.work / f"sample-{number}.npy"
        _gather(plan.blocks, rows, sample)
        centroids = run_kmeans(plan, blocks_of([sample]), plan.k, number, engine)
        sample.unlink()
    return centroids


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Rows with their cluster and distance, the closest of each cluster first."""

    labels: NDArray[np.int32]
    distances: NDArray[np.float32]
    rows: NDArray[np.int64]

    def closest(self, points: int) -> "_Ranked":
        """Keep the first few rows of each cluster."""
        order = np.lexsort((self.rows, self.distances, self.labels))
        labels = self.labels[order]
        rank = np.arange(len(order)) - np.searchsorted(labels, labels)
        kept = order[rank < points]
        return _Ranked(self.labels[kept], self.distances[kept], self.rows[kept])

    def joined(self, other: "_Ranked") -> "_Ranked":
        """Return the rows of both."""
        return _Ranked(
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.distances, other.distances]),
            np.concatenate([self.rows, other.rows]),
        )


def _closest_rows(
    plan: LevelPlan, centroids: NDArray[np.float32], points: int, engine: Engine
) -> NDArray[np.int64]:
    """Return the rows of the points closest to each centroid, ascending."""
    rank = partial(_rank_block, centroids=centroids, points=points, device=plan.lloyd.device)
    best: _Ranked | None = None
    for ranked in engine.map(rank, plan.blocks):
        best = ranked if best is None else best.joined(ranked).closest(points)
    assert best is not None
    return np.sort(best.rows)


def _rank_block(
    block: Block, *, centroids: NDArray[np.float32], points: int, device: str
) -> _Ranked:
    found = nearest(block, centroids=centroids, device=device)
    rows = np.arange(block.start, block.start + len(block), dtype=np.int64)
    return _Ranked(found.labels, found.distances, rows).closest(points)


def _gather(blocks: Sequence[Block], rows: NDArray[np.int64], path: Path) -> None:
    """Write chosen rows to a file, block by block."""

    def parts() -> Iterator[Vectors]:
        for block in blocks:
            low, high = np.searchsorted(rows, (block.start, block.start + len(block)))
            if high > low:
                yield block.take(rows[low:high] - block.start)

    save_parts(path, parts(), (len(rows), width_of(blocks)))


def _write_labels(
    block: Block, *, centroids: NDArray[np.float32], folder: Path, device: str
) -> None:
    path = block_path(folder, block.index)
    if not path.exists():
        save_array(path, nearest(block, centroids=centroids, device=device).labels)
