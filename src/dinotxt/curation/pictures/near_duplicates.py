"""Near-duplicates: of pictures in one cluster that look alike, the first is kept.

Optional; the comparison stays within the clusters of the first level, so that it costs little
more than a pass over the vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.cluster import Block, width_of
from dinotxt.curation.engine import Engine
from dinotxt.curation.pool import block_path, neighbours

_GROUP_BYTES = 256 << 20
_CHUNK = 1024
_ROUNDING = 1e-6  # of a product of unit vectors in float32: equal vectors need not give 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """What every task knows: the vectors, their clusters and the least cosine of a duplicate."""

    blocks: Sequence[Block]
    labels: Path
    cosine: float


def near_duplicates(
    blocks: Sequence[Block], labels: Path, sizes: NDArray[np.int64], cosine: float, engine: Engine
) -> NDArray[np.int64]:
    """Return the rows to drop, ascending.

    Args:
        blocks: The vectors.
        labels: The folder of their clusters, one file a block.
        sizes: ``[k]``, vectors of each cluster.
        cosine: Two vectors with at least this cosine are duplicates.
        engine: Where the clusters are searched.
    """
    groups = neighbours(sizes, _GROUP_BYTES // (4 * width_of(blocks)))
    search = partial(_search, known=_Search(blocks=blocks, labels=labels, cosine=cosine))
    found = list(engine.map(search, groups))
    return np.sort(np.concatenate(found))


def duplicates_of(vectors: NDArray[np.float32], cosine: float) -> NDArray[np.bool_]:
    """Tell which of the vectors ``[n, D]`` are near an earlier one that is kept."""
    cosine -= _ROUNDING
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(norms, 1e-12)
    drop = np.zeros(len(unit), dtype=bool)
    for start in range(0, len(unit), _CHUNK):
        chunk = unit[start : start + _CHUNK]
        kept = unit[:start][~drop[:start]]
        if len(kept):
            drop[start : start + _CHUNK] = (chunk @ kept.T).max(1) >= cosine
        within = chunk @ chunk.T >= cosine
        for row in range(1, len(chunk)):
            earlier = ~drop[start : start + row]
            if not drop[start + row] and (within[row, :row] & earlier).any():
                drop[start + row] = True
    return drop


def _search(group: tuple[int, int], *, known: _Search) -> NDArray[np.int64]:
    rows, labels, vectors = [], [], []
    for block in known.blocks:
        stored = np.load(block_path(known.labels, block.index), mmap_mode="r")
        inside = np.flatnonzero((stored >= group[0]) & (stored < group[1]))
        if len(inside):
            rows.append(inside + block.start)
            labels.append(stored[inside])
            vectors.append(block.take(inside))
    if not rows:
        return np.empty(0, dtype=np.int64)
    joined, clusters = np.concatenate(rows), np.concatenate(labels)
    matrix = np.concatenate(vectors)
    dropped = []
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        drop = duplicates_of(matrix[members].astype(np.float32), known.cosine)
        dropped.append(joined[members[drop]])
    return np.concatenate(dropped)
