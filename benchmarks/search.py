"""Exact search against faiss flat: the ten best of a million vectors of 768 values.

Both run on the same threads (``OMP_NUM_THREADS``, or one a core) over vectors in memory; every
run asks for the same neighbours, which must agree. ``flat_1`` is one query, ``flat_64`` is 64 at
a time. It takes 6 GB: faiss keeps a copy of its own.
"""

from typing import Any

import numpy as np

from dinotxt.errors import import_extra
from dinotxt.search.engines.exact import ExactIndex, Vectors
from harness import Figure, main, paired_rates

_DIM = 768
_TOP = 10
_BLOCK_ROWS = 50_000


def unit_vectors(rows: int, seed: int) -> Vectors:
    """Return ``rows`` random vectors of length 1."""
    rng = np.random.default_rng(seed)
    vectors = np.empty((rows, _DIM), np.float32)
    for start in range(0, rows, _BLOCK_ROWS):
        block = vectors[start : start + _BLOCK_ROWS]
        rng.standard_normal(dtype=np.float32, out=block)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def measure(quick: bool) -> dict[str, Figure]:
    """Return the figures ``flat_1`` and ``flat_64``."""
    faiss = import_extra("faiss", extra="faiss")
    vectors = unit_vectors(100_000 if quick else 1_000_000, seed=0)
    ours, peer = ExactIndex(vectors), faiss.IndexFlatIP(_DIM)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        peer.add(vectors[start : start + _BLOCK_ROWS])
    return {
        f"flat_{count}": _compare(ours, peer, unit_vectors(count, seed=1), runs=3 if quick else 9)
        for count in (1, 64)
    }


def _compare(ours: ExactIndex, peer: Any, queries: Vectors, *, runs: int) -> Figure:
    _, rows = ours.search(queries, _TOP)
    _, expected = peer.search(queries, _TOP)
    if (rows != expected).mean() > 0.01:  # equal but for rounding
        raise RuntimeError("The two searches do not find the same vectors.")
    return paired_rates(
        lambda: ours.search(queries, _TOP),
        lambda: peer.search(queries, _TOP),
        work=len(queries),
        unit="queries/s",
        runs=runs,
    )


if __name__ == "__main__":
    main("search", measure)
