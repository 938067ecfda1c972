from pathlib import Path

import numpy as np
import pytest

from dinotxt.search.engines import exact
from dinotxt.search.engines.exact import ExactIndex


def unit_vectors(rows: int, dim: int, seed: int = 0) -> exact.Vectors:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize(("rows", "queries", "k"), [(1000, 1, 10), (1000, 7, 3), (50, 9, 50)])
def test_search_equals_sorting_all_scores(
    monkeypatch: pytest.MonkeyPatch, rows: int, queries: int, k: int
) -> None:
    monkeypatch.setattr(exact, "_BLOCK_ROWS", 64)
    monkeypatch.setattr(exact, "_BLOCK_QUERIES", 4)
    vectors, asked = unit_vectors(rows, 16), unit_vectors(queries, 16, seed=1)
    scores, found = ExactIndex(vectors).search(asked, k)
    expected = np.argsort(-(asked @ vectors.T), axis=1, kind="stable")[:, :k]
    assert found.tolist() == expected.tolist()
    assert np.allclose(scores, np.take_along_axis(asked @ vectors.T, expected, axis=1), atol=1e-6)


@pytest.mark.parametrize("order", [1, -1])
def test_rising_and_falling_scores_give_the_same_best(
    monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    monkeypatch.setattr(exact, "_BLOCK_ROWS", 10)
    vectors = np.arange(100, dtype=np.float32)[::order, None]
    scores, _ = ExactIndex(vectors).search(np.ones((1, 1), np.float32), 4)
    assert scores[0].tolist() == [99, 98, 97, 96]


def test_equal_scores_come_in_the_order_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_BLOCK_ROWS", 7)
    _, rows = ExactIndex(np.ones((40, 4), np.float32)).search(np.ones((2, 4), np.float32), 5)
    assert rows.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_fewer_vectors_than_k_give_them_all() -> None:
    scores, rows = ExactIndex(unit_vectors(3, 4)).search(unit_vectors(2, 4), 10)
    assert scores.shape == rows.shape == (2, 3)
    assert sorted(rows[0].tolist()) == [0, 1, 2]


def test_no_vectors_and_no_queries_give_empty_results() -> None:
    assert ExactIndex(unit_vectors(0, 4)).search(unit_vectors(2, 4), 5)[0].shape == (2, 0)
    assert ExactIndex(unit_vectors(9, 4)).search(unit_vectors(0, 4), 5)[1].shape == (0, 5)


def test_a_memory_mapped_file_is_searched(tmp_path: Path) -> None:
    vectors = unit_vectors(200, 8)
    np.save(tmp_path / "v.npy", vectors)
    index = ExactIndex(np.load(tmp_path / "v.npy", mmap_mode="r"))
    assert len(index) == 200
    assert index.search(vectors[17:18], 1)[1].tolist() == [[17]]
