"""Approximate search with faiss, for more vectors than an exhaustive search can read in time.

Two engines, both with the inner product. ``hnsw``: a graph (32 links) over vectors of 8 bits a
value. ``ivf-pq``: lists of product-quantised vectors, a byte for 8 values. Either only proposes
candidates; their scores are then computed from the stored vectors, so they are exact cosines.

A filter is never given to the graph, which walks towards the query and stops there: where the
pictures that pass lie elsewhere, it returns as many as asked and few of the right ones
(``benchmarks/filtered.py``). The candidates of all pictures are filtered instead: those that pass
are the best that pass. Where too few do, every vector that passes is compared; so it is where the
candidates of product-quantised vectors, which are rough, hold fewer that pass than others do.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dinotxt.errors import DataError, import_extra
from dinotxt.results.skip import Progress
from dinotxt.search.engines.exact import ExactIndex, Rows, Vectors

Engine = Literal["auto", "exact", "hnsw", "ivf-pq"]
ApproximateEngine = Literal["hnsw", "ivf-pq"]

LEAST_ROWS = 1000  # fewer are searched exactly, whatever was asked for
EXACT_ROWS = 500_000
HNSW_ROWS = 5_000_000

_LINKS = 32
_BUILD_BREADTH = 128
_LEAST_CANDIDATES = 200
_CANDIDATES = {"hnsw": 10, "ivf-pq": 40}  # for each wanted row; half of them must pass
_SHARE = {"hnsw": 0.0, "ivf-pq": 0.8}  # of those that pass elsewhere, must pass of the candidates
_ROUNDS = (1, 4)  # times as many, where too few of the first ones pass
_PQ_VALUES = 8  # of a vector, in one byte
_LIST_ROWS = 1024  # rows a list, on average
_MOST_LISTS = 16_384
_TRAINING_ROWS = 40  # for each list
_PROBED_LISTS = 32  # one in so many
_LEAST_PROBES = 32
_BLOCK_ROWS = 65_536


def choose(asked: Engine, num_rows: int) -> ApproximateEngine | None:
    """Return the engine for a number of vectors; None for an exact search.

    ``auto`` is exact up to 500,000 (a query reads 1.5 GB at 768 values), HNSW up to 5,000,000
    (5 GB of memory at 768 values), IVF-PQ beyond.
    """
    if asked == "exact" or num_rows < LEAST_ROWS:
        return None
    if asked != "auto":
        return asked
    if num_rows <= EXACT_ROWS:
        return None
    return "hnsw" if num_rows <= HNSW_ROWS else "ivf-pq"


def build_approximate(
    vectors: Vectors, engine: ApproximateEngine, path: Path, *, progress: Progress
) -> None:
    """Make an approximate index of vectors and write it.

    Args:
        vectors: ``float32 [N, E]``; read block by block.
        engine: Of which kind.
        path: The file.
        progress: Called with the numbers of vectors done and to do.

    Raises:
        BackendError: If faiss is not installed.
    """
    faiss = import_extra("faiss", extra="faiss")
    index = _empty(faiss, engine, *vectors.shape)
    step = max(1, len(vectors) // _training_rows(engine, len(vectors)))
    index.train(np.ascontiguousarray(vectors[::step]))
    for start in range(0, len(vectors), _BLOCK_ROWS):
        progress(start, len(vectors))
        index.add(np.ascontiguousarray(vectors[start : start + _BLOCK_ROWS]))
    progress(len(vectors), len(vectors))
    faiss.write_index(index, str(path))


def read_approximate(path: Path) -> Any:
    """Read an approximate index.

    Raises:
        BackendError: If faiss is not installed.
        DataError: If the file is missing or damaged.
    """
    faiss = import_extra("faiss", extra="faiss")
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise DataError(f"{path} is damaged: delete it and index again.") from error


def _empty(faiss: Any, engine: ApproximateEngine, num_rows: int, dim: int) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT
    if engine == "hnsw":
        index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_8bit, _LINKS, metric)
        index.hnsw.efConstruction = _BUILD_BREADTH
        return index
    num_bytes = next(count for count in range(max(dim // _PQ_VALUES, 1), 0, -1) if dim % count == 0)
    index = faiss.index_factory(dim, f"IVF{_num_lists(num_rows)},PQ{num_bytes}", metric)
    index.cp.min_points_per_centroid = 1  # no warning where there are few vectors
    index.pq.cp.min_points_per_centroid = 1
    index.do_polysemous_training = False  # minutes, for a kind of search that is not used
    return index


def _num_lists(num_rows: int) -> int:
    return max(1, min(_MOST_LISTS, num_rows // _LIST_ROWS))


def _training_rows(engine: ApproximateEngine, num_rows: int) -> int:
    lists = _num_lists(num_rows) if engine == "ivf-pq" else 1
    return max(_TRAINING_ROWS * lists, 65_536)


class FaissIndex:
    """Candidates of an approximate index, scored by the vectors themselves.

    Args:
        index: What faiss has read.
        engine: Of what kind it is.
        places: ``int64 [n]``, the row of each of its ids, -1 for none.
        vectors: ``float32 [N, E]``, all rows.
    """

    def __init__(
        self, index: Any, engine: ApproximateEngine, places: Rows, vectors: Vectors
    ) -> None:
        self.engine: str = engine
        self._faiss = import_extra("faiss", extra="faiss")
        self._index = index
        self._places = places
        self._exact = ExactIndex(vectors)
        known = np.zeros(len(vectors), bool)
        known[places[places >= 0]] = True
        self._others = np.flatnonzero(~known)

    def __len__(self) -> int:
        return len(self._exact)

    def search(
        self, queries: Vectors, k: int, *, among: Rows | None = None
    ) -> tuple[Vectors, Rows]:
        """Return about the ``k`` rows with the largest inner products; see ``ExactIndex.search``.

        Where at most 500,000 rows are asked about, or too few candidates are among them, the
        search is exact.
        """
        k = min(k, len(self) if among is None else len(among))
        if k == 0 or (among is not None and len(among) <= EXACT_ROWS):
            return self._exact.search(queries, k, among=among)
        allowed = self._allowed(among)
        candidates = self._candidates(np.ascontiguousarray(queries, np.float32), k, allowed)
        others = self._others if among is None else np.intersect1d(self._others, among)
        found = [
            self._exact.search(
                query[None], k, among=among if rows is None else np.union1d(rows, others)
            )
            for query, rows in zip(queries, candidates, strict=True)
        ]
        scores = np.concatenate([scores for scores, _ in found])
        return scores, np.concatenate([rows for _, rows in found])

    def _allowed(self, among: Rows | None) -> npt.NDArray[np.bool_]:
        """Tell which ids stand for a row that is asked about."""
        if among is None:
            return self._places >= 0
        asked = np.zeros(len(self) + 1, bool)
        asked[among] = True
        return asked[self._places]  # -1 is the last one, which is not asked about

    def _candidates(
        self, queries: Vectors, k: int, allowed: npt.NDArray[np.bool_]
    ) -> list[Rows | None]:
        """Return the rows of the candidates of each query, all allowed; None for too few."""
        found: list[Rows | None] = [None] * len(queries)
        missing = list(range(len(queries)))
        wanted = _CANDIDATES[self.engine] * k
        share = _SHARE[self.engine] * allowed.mean()
        for more in _ROUNDS:
            count = min(more * max(_LEAST_CANDIDATES, wanted), len(self._places))
            _, ids = self._index.search(queries[missing], count, params=self._breadth(count))
            for query, row in zip(missing, ids, strict=True):
                known = row[row >= 0]
                passing = known[allowed[known]]
                if 2 * len(passing) >= wanted and len(passing) >= share * len(known):
                    found[query] = self._places[passing]
            missing = [query for query in missing if found[query] is None]
            if not missing:
                break
        return found

    def _breadth(self, count: int) -> Any:
        if self.engine == "hnsw":
            return self._faiss.SearchParametersHNSW(efSearch=count)
        probes = max(_LEAST_PROBES, self._index.nlist // _PROBED_LISTS)
        return self._faiss.SearchParametersIVF(nprobe=min(probes, self._index.nlist))
