"""Exact search: inner products by blocks with a running top k.

The vectors may be a memory-mapped file larger than the memory: a block is read, multiplied by
every query at once (one BLAS call) and forgotten. After the first block a query's k-th best
score is a threshold that few later rows pass, so that the selection costs next to nothing.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_BLOCK_ROWS = 65_536
_BLOCK_QUERIES = 256


class Index(Protocol):
    """A set of vectors that is searched by inner product."""

    def __len__(self) -> int:
        """Return the number of vectors."""
        ...

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return the best scores and their rows, both ``[Q, min(k, N)]``, best first."""
        ...


class ExactIndex:
    """Exhaustive search over the rows of one array; equal scores come in the order of rows.

    Args:
        vectors: ``float32 [N, E]``, in memory or memory-mapped.
    """

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def __len__(self) -> int:
        return len(self.vectors)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        """Return the ``k`` rows with the largest inner product with each query.

        Args:
            queries: ``float32 [Q, E]``.
            k: How many rows a query; all rows where there are fewer.

        Returns:
            Scores and row numbers, both ``[Q, min(k, N)]``, best first.
        """
        k = min(k, len(self))
        parts = [
            self._search_block(queries[start : start + _BLOCK_QUERIES], k)
            for start in range(0, len(queries), _BLOCK_QUERIES)
        ]
        if not parts:
            return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
        return np.concatenate([part[0] for part in parts]), np.concatenate([p[1] for p in parts])

    def _search_block(self, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
        queries = np.ascontiguousarray(queries, np.float32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        if k == 0:
            return scores, rows
        for start in range(0, len(self), _BLOCK_ROWS):
            block = np.asarray(self.vectors[start : start + _BLOCK_ROWS])
            products = queries @ block.T
            passing = products > scores[:, -1:]
            for query in np.flatnonzero(passing.any(axis=1)):
                found = np.flatnonzero(passing[query])
                scores[query], rows[query] = _best(
                    np.concatenate([scores[query], products[query, found]]),
                    np.concatenate([rows[query], found + start]),
                    k,
                )
        return scores, rows


def _best(scores: Vectors, rows: Rows, k: int) -> tuple[Vectors, Rows]:
    """Return the ``k`` largest scores in falling order, equal ones by row number."""
    if len(scores) > k:
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= threshold)
        scores, rows = scores[kept], rows[kept]
    order = np.lexsort((rows, -scores))[:k]
    return scores[order], rows[order]
