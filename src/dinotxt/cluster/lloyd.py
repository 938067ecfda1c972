"""Lloyd's k-means over blocks: seeded, bounded in memory, the same for any number of workers.

Paper section 3.2 builds on it; Lloyd 1982, "Least squares quantization in PCM".
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dinotxt.cluster.assignment import BlockSums, block_sums, nearest_labels
from dinotxt.cluster.blocks import Block, Vectors, blocks_of
from dinotxt.cluster.seeding import choose_centroids, draw_sample
from dinotxt.errors import DataError

_NUDGE = 1.0 / 1024


class Mapper(Protocol):
    """Apply a function to items, here or elsewhere; results come in the order of the items."""

    def __call__(self, function: Callable[[Any], Any], items: Iterable[Any], /) -> Iterable[Any]:
        """Yield ``function(item)`` for each item."""


class Checkpoint(Protocol):
    """Where the state of a long run is kept between its iterations."""

    def load(self) -> tuple[int, float, NDArray[np.float32]] | None:
        """Return (iterations done, inertia, centroids), or None at the start."""

    def save(self, iteration: int, inertia: float, centroids: NDArray[np.float32]) -> None:
        """Keep the state; may skip some iterations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lloyd:
    """How long to iterate, and where.

    Attributes:
        iterations: Iterations at most.
        tolerance: Stop when the inertia falls by less than this share; 0 runs all iterations.
        device: A torch device.
    """

    iterations: int = 50
    tolerance: float = 0.0
    device: str = "cpu"


_DEFAULT = Lloyd()


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """The result of k-means.

    Attributes:
        centroids: ``[k, D]`` float32.
        inertia: Sum of squared distances of the last assignment, before the last update.
        num_iterations: Iterations done.
    """

    centroids: NDArray[np.float32]
    inertia: float
    num_iterations: int

    def predict(self, vectors: Vectors) -> NDArray[np.int32]:
        """Return the nearest centroid ``[n]`` of each of the vectors ``[n, D]``."""
        blocks = blocks_of([vectors])
        labels = [nearest_labels(block, centroids=self.centroids) for block in blocks]
        return np.concatenate(labels) if labels else np.empty(0, dtype=np.int32)


def kmeans(
    vectors: Vectors | Sequence[Block],
    k: int,
    *,
    seed: int | Sequence[int] = 0,
    lloyd: Lloyd = _DEFAULT,
    initial: NDArray[np.float32] | None = None,
    mapper: Mapper = map,
    checkpoint: Checkpoint | None = None,
) -> Clustering:
    """Cluster vectors by squared Euclidean distance.

    Args:
        vectors: ``[n, D]``, or blocks from `blocks_of` for vectors in files.
        k: The number of clusters.
        seed: An integer or a sequence of them.
        lloyd: How long to iterate, and where.
        initial: ``[k, D]``; by default chosen by `seeding`.
        mapper: How to apply a function to many blocks; ``map`` runs here.
        checkpoint: Where to keep the state between iterations.

    Raises:
        DataError: If there are fewer vectors than clusters, or a vector is not finite.
    """
    blocks = blocks_of([vectors]) if isinstance(vectors, np.ndarray) else list(vectors)
    total = sum(len(block) for block in blocks)
    if not 1 <= k <= total:
        raise DataError(f"{total} vectors cannot make {k} clusters: ask for 1 to {total}.")
    state = checkpoint.load() if checkpoint else None
    done, inertia, centroids = state or (0, float("inf"), None)
    if centroids is None:
        centroids = _initial(blocks, k, seed, initial, mapper)
    while done < lloyd.iterations:
        step = partial(block_sums, centroids=centroids, device=lloyd.device)
        sums = _total(mapper(step, blocks))
        if not np.isfinite(sums.inertia):
            raise DataError("A vector is NaN or infinite: leave it out before clustering.")
        centroids = _update(centroids, sums)
        done += 1
        previous, inertia = inertia, max(sums.inertia, 0.0)
        if previous - inertia < lloyd.tolerance * previous and np.isfinite(previous):
            break  # before a checkpoint, from which a killed run would go on
        if checkpoint:
            checkpoint.save(done, inertia, centroids)
    return Clustering(centroids, inertia, done)


def _initial(
    blocks: Sequence[Block],
    k: int,
    seed: int | Sequence[int],
    initial: NDArray[np.float32] | None,
    mapper: Mapper,
) -> NDArray[np.float32]:
    if initial is not None:
        if len(initial) != k:
            raise DataError(f"{len(initial)} initial centroids were given for {k} clusters.")
        return np.array(initial, dtype=np.float32)
    key = [seed] if isinstance(seed, int) else list(seed)
    sample = draw_sample(blocks, k, [*key, 0])
    if not np.isfinite(sample).all():
        raise DataError("A vector is NaN or infinite: leave it out before clustering.")
    start = partial(choose_centroids, k=k, seed=[*key, 1])
    (centroids,) = mapper(start, [sample])
    return np.asarray(centroids, dtype=np.float32)


def _total(parts: Iterable[BlockSums]) -> BlockSums:
    """Add the sums of the blocks, in block order."""
    iterator = iter(parts)
    first = next(iterator)
    sums, counts, inertia = first.sums, first.counts, first.inertia
    for part in iterator:
        sums += part.sums
        counts += part.counts
        inertia += part.inertia
    return BlockSums(sums, counts, inertia)


def _update(centroids: NDArray[np.float32], sums: BlockSums) -> NDArray[np.float32]:
    """Return the means; an empty cluster takes half of the largest one."""
    means = sums.sums / np.maximum(sums.counts, 1)[:, None]
    counts = sums.counts.copy()
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        scale = float(np.sqrt(np.mean(np.square(centroids, dtype=np.float64))))
        signs = np.where(np.arange(means.shape[1]) % 2, -1.0, 1.0)
        for cluster in empty:
            largest = int(counts.argmax())
            nudge = _NUDGE * signs * (np.abs(means[largest]) + scale)
            means[cluster] = means[largest] + nudge
            means[largest] -= nudge
            counts[cluster] = counts[largest] // 2
            counts[largest] -= counts[cluster]
    return means.astype(np.float32)
