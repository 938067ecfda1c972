"""Exact search: inner products by blocks with a running top k.

The vectors may be a memory-mapped file larger than the memory: a block is read, multiplied by
every query at once (one BLAS call) and forgotten. After the first block a query's k-th best
score is a threshold that few later rows pass, so that the selection costs next to nothing. A few
queries are bound by the memory's bandwidth: their products are dot products row by row, on as many
threads as BLAS would use, which is faster than BLAS's products with so thin a matrix.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_BLOCK_ROWS = 32_768
_BLOCK_QUERIES = 256
_FEW_QUERIES = 4
_THREAD_ROWS = 65_536  # fewer rows are not worth a thread


class Index(Protocol):
    """A set of vectors that is searched by inner product.

    Attributes:
        engine: How, in a word.
    """

    engine: str

    def __len__(self) -> int:
        """Return the number of vectors."""
        ...

    def search(
        self, queries: Vectors, k: int, *, among: Rows | None = None
    ) -> tuple[Vectors, Rows]:
        """Return the best scores and their rows, both ``[Q, min(k, N)]``, best first."""
        ...


class ExactIndex:
    """Exhaustive search over the rows of one array; equal scores come in the order of rows.

    Args:
        vectors: ``float32 [N, E]``, in memory or memory-mapped.
    """

    engine = "exact"

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def __len__(self) -> int:
        return len(self.vectors)

    def search(
        self, queries: Vectors, k: int, *, among: Rows | None = None
    ) -> tuple[Vectors, Rows]:
        """Return the ``k`` rows with the largest inner product with each query.

        Args:
            queries: ``float32 [Q, E]``.
            k: How many rows a query; all rows where there are fewer.
            among: Only these rows, ``int64 [n]``, rising (default: all).

        Returns:
            Scores and row numbers, both ``[Q, min(k, n)]``, best first.
        """
        total = len(self) if among is None else len(among)
        k = min(k, total)
        if k == 0 or len(queries) == 0:
            return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        parts = [
            self._search(np.ascontiguousarray(part, np.float32), k, total, among)
            for part in np.split(queries, range(_BLOCK_QUERIES, len(queries), _BLOCK_QUERIES))
        ]
        scores = np.concatenate([part[0] for part in parts])
        places = np.concatenate([part[1] for part in parts])
        return scores, places if among is None else among[places]

    def _search(
        self, queries: Vectors, k: int, total: int, among: Rows | None
    ) -> tuple[Vectors, Rows]:
        num_threads = min(_num_threads(), total // _THREAD_ROWS)
        if len(queries) > _FEW_QUERIES or num_threads <= 1:
            return self._scan(queries, k, range(total), among)
        cuts = pairwise(np.linspace(0, total, num_threads + 1, dtype=int).tolist())
        with ThreadPoolExecutor(num_threads) as threads:
            parts = list(threads.map(lambda cut: self._scan(queries, k, range(*cut), among), cuts))
        found = [
            _best(np.concatenate(scores), np.concatenate(rows), k)
            for scores, rows in zip(
                zip(*(part[0] for part in parts), strict=True),
                zip(*(part[1] for part in parts), strict=True),
                strict=True,
            )
        ]
        return np.stack([one[0] for one in found]), np.stack([one[1] for one in found])

    def _scan(
        self, queries: Vectors, k: int, places: range, among: Rows | None
    ) -> tuple[Vectors, Rows]:
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        for start in range(places.start, places.stop, _BLOCK_ROWS):
            window = slice(start, min(start + _BLOCK_ROWS, places.stop))
            block = np.asarray(self.vectors[window if among is None else among[window]])
            products = _products(queries, block)
            passing = products > scores[:, -1:]
            for query in np.flatnonzero(passing.any(axis=1)):
                found = np.flatnonzero(passing[query])
                scores[query], rows[query] = _best(
                    np.concatenate([scores[query], products[query, found]]),
                    np.concatenate([rows[query], found + start]),
                    k,
                )
        return scores, rows


def _products(queries: Vectors, block: Vectors) -> Vectors:
    """Return the inner products ``[Q, n]`` of queries ``[Q, E]`` and a block ``[n, E]``."""
    if len(queries) > _FEW_QUERIES:
        return queries @ block.T
    rows = block[:, None, :]
    return np.stack([(rows @ query[:, None])[:, 0, 0] for query in queries])


def _best(scores: Vectors, rows: Rows, k: int) -> tuple[Vectors, Rows]:
    """Return the ``k`` largest scores in falling order, equal ones by row number."""
    if len(scores) > k:
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= threshold)
        scores, rows = scores[kept], rows[kept]
    order = np.lexsort((rows, -scores))[:k]
    return scores[order], rows[order]


def _num_threads() -> int:
    """Return the threads that BLAS would use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else os.cpu_count() or 1
