"""Initial centroids, on a seeded sample: k-means++, or k-means|| for many clusters.

Arthur and Vassilvitskii 2007, "k-means++: the advantages of careful seeding", with several
candidates a step (greedy); Bahmani et al. 2012, "Scalable k-means++": each of a few rounds draws
many points at once, here just as many as clusters are wanted.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dinotxt.cluster.blocks import Block, Vectors, width_of

_SAMPLE_BYTES = 60 << 20  # it travels: with its frame it stays below 64 MiB
_POINTS_A_CLUSTER = 32
_GREEDY_LIMIT = 256
_ROUNDS = 32


def draw_sample(blocks: Sequence[Block], k: int, seed: Sequence[int]) -> Vectors:
    """Draw rows without replacement: 32 a cluster, at most 60 MiB, at least k.

    Args:
        blocks: All rows.
        k: The number of clusters.
        seed: The key of the draw.
    """
    total = sum(len(block) for block in blocks)
    row_bytes = width_of(blocks) * blocks[0].parts[0].open().dtype.itemsize
    size = min(total, max(k, min(_POINTS_A_CLUSTER * k, _SAMPLE_BYTES // row_bytes)))
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    if size == total:
        chosen = np.arange(total, dtype=np.int64)
    else:
        chosen = np.sort(generator.choice(total, size=size, replace=False, shuffle=False))
    parts = []
    for block in blocks:
        low, high = np.searchsorted(chosen, (block.start, block.start + len(block)))
        if high > low:
            parts.append(block.take(chosen[low:high] - block.start))
    sample: Vectors = np.concatenate(parts)
    return sample


def choose_centroids(sample: Vectors, *, k: int, seed: Sequence[int]) -> NDArray[np.float32]:
    """Choose k rows of a sample ``[n, D]``, each with probability by its squared distance.

    Returns:
        Centroids ``[k, D]``. Where fewer than k rows differ, some centroids are equal.
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
    rows = torch.from_numpy(np.array(sample, dtype=np.float32))
    norms = rows.square().sum(1)
    chosen = [int(generator.integers(len(rows)))]
    closest = _distances(rows, norms, chosen)[0]
    if k <= _GREEDY_LIMIT:
        _choose_one_by_one(rows, norms, closest, chosen, k, generator)
    else:
        _choose_in_rounds(rows, norms, closest, chosen, k, generator)
    return rows[chosen].numpy()


def _choose_one_by_one(
    rows: torch.Tensor,
    norms: torch.Tensor,
    closest: torch.Tensor,
    chosen: list[int],
    k: int,
    generator: np.random.Generator,
) -> None:
    """Add the best of a few candidates until there are k."""
    candidates = 2 + int(math.log(k))
    while len(chosen) < k:
        tried = _weighted(closest, generator.random(candidates))
        distances = torch.minimum(_distances(rows, norms, tried), closest)
        best = int(distances.sum(1, dtype=torch.float64).argmin())
        closest = distances[best]
        chosen.append(tried[best])


def _choose_in_rounds(
    rows: torch.Tensor,
    norms: torch.Tensor,
    closest: torch.Tensor,
    chosen: list[int],
    k: int,
    generator: np.random.Generator,
) -> None:
    """Add many at once, in 32 rounds, so that distances are matrix products."""
    step = -(-k // _ROUNDS)
    while len(chosen) < k:
        drawn = _weighted(closest, generator.random(min(step, k - len(chosen))))
        chosen.extend(drawn)
        for start in range(0, len(drawn), _GREEDY_LIMIT):
            part = drawn[start : start + _GREEDY_LIMIT]
            closest = torch.minimum(closest, _distances(rows, norms, part).amin(0))


def _distances(rows: torch.Tensor, norms: torch.Tensor, chosen: list[int]) -> torch.Tensor:
    """Return squared distances ``[candidates, n]``."""
    products = rows[chosen] @ rows.T
    distances = (norms[chosen][:, None] + norms - 2 * products).clamp_(min=0)
    distances[torch.arange(len(chosen)), chosen] = 0.0  # rounding must not leave it above zero
    return distances


def _weighted(weights: torch.Tensor, numbers: NDArray[np.float64]) -> list[int]:
    """Return the indices that numbers in [0, 1) pick, in proportion to the weights."""
    cumulative = np.cumsum(weights.numpy(), dtype=np.float64)
    if cumulative[-1] <= 0:  # every row is chosen already
        return [int(number * len(cumulative)) for number in numbers]
    found = np.searchsorted(cumulative, numbers * cumulative[-1], side="right")
    return [int(index) for index in np.minimum(found, len(cumulative) - 1)]
