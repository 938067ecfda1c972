import sys
from pathlib import Path

import numpy as np
import pytest

from dinotxt.errors import BackendError, DataError
from dinotxt.search.engines import faiss as engines
from dinotxt.search.engines.exact import ExactIndex, Vectors
from dinotxt.search.engines.faiss import (
    ApproximateEngine,
    FaissIndex,
    build_approximate,
    choose,
    read_approximate,
)

ENGINES: list[ApproximateEngine] = ["hnsw", "ivf-pq"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "EXACT_ROWS", 100)
    monkeypatch.setattr(engines, "_LEAST_PROBES", 8)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """Two thousand unit vectors around fifty centres."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((50, 32), dtype=np.float32)
    points = centres[rng.integers(0, 50, 2000)] + 0.4 * rng.standard_normal((2000, 32))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module", params=ENGINES)
def built(
    request: pytest.FixtureRequest, vectors: Vectors, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ApproximateEngine, Path]:
    """An index file of each engine."""
    engine: ApproximateEngine = request.param
    path = tmp_path_factory.mktemp(engine) / "a.faiss"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engines, "_LIST_ROWS", 100)
        build_approximate(vectors, engine, path, progress=lambda *_: None)
    return engine, path


@pytest.fixture
def index(built: tuple[ApproximateEngine, Path], vectors: Vectors) -> FaissIndex:
    return FaissIndex(read_approximate(built[1]), built[0], np.arange(len(vectors)), vectors)


def test_most_of_the_best_are_found_with_exact_scores(index: FaissIndex, vectors: Vectors) -> None:
    scores, rows = index.search(vectors[:50], 10)
    _, expected = ExactIndex(vectors).search(vectors[:50], 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, expected, strict=True)])
    assert recall > 0.95
    assert rows[:, 0].tolist() == list(range(50))
    products = np.einsum("qe,qke->qk", vectors[:50], vectors[rows])
    assert np.allclose(scores, products, atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_ids_follow_their_rows_and_rows_without_an_id_are_searched(
    built: tuple[ApproximateEngine, Path], vectors: Vectors
) -> None:
    places = np.arange(2000, dtype=np.int64)[::-1].copy()  # ids count from the other end
    turned = np.ascontiguousarray(vectors[::-1])
    places[:100] = places[1900:] = -1  # these rows are searched one by one
    index = FaissIndex(read_approximate(built[1]), built[0], places, turned)
    for row in (5, 99, 500, 1900):
        assert index.search(turned[row : row + 1], 1)[1].tolist() == [[row]]


@pytest.mark.parametrize("share", [3, 40])
def test_a_subset_is_searched_by_either_way(
    index: FaissIndex, vectors: Vectors, share: int
) -> None:
    among = np.arange(0, 2000, share)
    _, rows = index.search(vectors[:20], 5, among=among)
    _, expected = ExactIndex(vectors).search(vectors[:20], 5, among=among)
    assert np.isin(rows, among).all()
    assert (rows == expected).mean() > 0.9


def test_more_than_faiss_finds_is_searched_exactly(index: FaissIndex, vectors: Vectors) -> None:
    scores, rows = index.search(vectors[:1], 5000)
    assert sorted(rows[0].tolist()) == list(range(2000))
    assert len(index) == 2000
    assert scores.shape == (1, 2000)


def test_the_engine_is_chosen_by_the_number_of_pictures() -> None:
    sizes = (100, 999, 1000, 5_000_000, 5_000_001)
    assert [choose("auto", size) for size in sizes] == [None, None, "hnsw", "hnsw", "ivf-pq"]
    assert {choose("exact", size) for size in sizes} == {None}
    assert (choose("ivf-pq", 999), choose("ivf-pq", 1000)) == (None, "ivf-pq")


def test_without_faiss_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(BackendError, match=r"dinotxt\[faiss\]"):
        read_approximate(tmp_path / "a.faiss")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.faiss").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.faiss is damaged"):
        read_approximate(tmp_path / "a.faiss")
