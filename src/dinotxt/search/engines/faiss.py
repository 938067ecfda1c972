"""Approximate search with faiss, for more vectors than an exhaustive search can read in time.

Two engines, both with the inner product. ``hnsw``: a graph (32 links) over vectors of 8 bits a
value. ``ivf-pq``: lists of product-quantised vectors, a byte for 8 values. Either only proposes
candidates; their scores are then computed from the stored vectors, so they are exact cosines.
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
_CANDIDATES = 10  # for each wanted row
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

        Where few rows are asked about, or faiss finds too few, the search is exact.
        """
        k = min(k, len(self) if among is None else len(among))
        if k == 0 or (among is not None and len(among) <= EXACT_ROWS):
            return self._exact.search(queries, k, among=among)
        candidates = self._candidates(np.ascontiguousarray(queries, np.float32), k, among)
        others = self._others if among is None else np.intersect1d(self._others, among)
        found = [
            self._rank(query[None], np.concatenate([rows, others]), k, among)
            for query, rows in zip(queries, candidates, strict=True)
        ]
        scores = np.stack([scores for scores, _ in found])
        return scores, np.stack([rows for _, rows in found])

    def _rank(self, query: Vectors, rows: Rows, k: int, among: Rows | None) -> tuple[Vectors, Rows]:
        if len(rows) < k:
            scores, found = self._exact.search(query, k, among=among)
        else:
            scores, found = self._exact.search(query, k, among=np.sort(rows))
        return scores[0], found[0]

    def _candidates(self, queries: Vectors, k: int, among: Rows | None) -> list[Rows]:
        """Return the rows of the candidates of each query."""
        count = min(max(_LEAST_CANDIDATES, _CANDIDATES * k), len(self._places))
        alive = self._places >= 0
        if among is not None:
            asked = np.zeros(len(self), bool)
            asked[among] = True
            alive &= asked[self._places]
        _, ids = self._index.search(queries, count, params=self._parameters(count, alive))
        return [self._places[row[row >= 0]] for row in ids]

    def _parameters(self, count: int, alive: npt.NDArray[np.bool_]) -> Any:
        options: dict[str, Any] = {}
        if not alive.all():
            bits = np.packbits(alive, bitorder="little")
            options["sel"] = self._faiss.IDSelectorBitmap(bits)
        if self.engine == "hnsw":
            return self._faiss.SearchParametersHNSW(efSearch=count, **options)
        probes = max(_LEAST_PROBES, self._index.nlist // _PROBED_LISTS)
        return self._faiss.SearchParametersIVF(nprobe=min(probes, self._index.nlist), **options)
