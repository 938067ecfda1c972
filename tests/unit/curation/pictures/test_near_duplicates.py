"""Near-duplicates within clusters."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinotxt.cluster import blocks_of
from dinotxt.curation.engine import InProcess
from dinotxt.curation.pictures import near_duplicates as module
from dinotxt.curation.pictures.near_duplicates import duplicates_of, near_duplicates
from dinotxt.curation.pool.files import block_path


def _greedy(vectors: NDArray[np.float32], cosine: float) -> list[bool]:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    kept: list[int] = []
    for row in range(len(unit)):
        if all(unit[row] @ unit[other] < cosine for other in kept):
            kept.append(row)
    return [row not in kept for row in range(len(unit))]


def test_the_first_of_each_group_is_kept() -> None:
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((6, 8))[generator.integers(0, 6, 40)]
    vectors = (rows + 0.3 * generator.standard_normal((40, 8))).astype(np.float32)
    expected = _greedy(vectors, 0.9)
    assert 0 < sum(expected) < 40
    assert duplicates_of(vectors, 0.9).tolist() == expected


def test_chunks_do_not_change_the_result() -> None:
    generator = np.random.default_rng(1)
    rows = generator.standard_normal((3, 4))[generator.integers(0, 3, 30)]
    vectors = np.asarray(rows, dtype=np.float32)
    whole = duplicates_of(vectors, 0.99).tolist()
    chunk, module._CHUNK = module._CHUNK, 7
    try:
        assert duplicates_of(vectors, 0.99).tolist() == whole
    finally:
        module._CHUNK = chunk
    assert sum(whole) == 27


def test_equal_vectors_are_duplicates_however_their_product_is_rounded() -> None:
    vectors = np.random.default_rng(0).standard_normal((200, 384)).astype(np.float32)
    found = duplicates_of(np.concatenate([vectors, vectors]), 1.0)
    assert found.tolist() == [False] * 200 + [True] * 200


def test_copies_in_other_clusters_are_not_compared(tmp_path: Path) -> None:
    vectors = np.ones((4, 3), dtype=np.float16)
    blocks = blocks_of([vectors], rows=2)
    labels = np.array([0, 1, 0, 1], dtype=np.int32)
    for block in blocks:
        path = block_path(tmp_path, block.index)
        np.save(path, labels[block.start : block.start + len(block)])
    dropped = near_duplicates(blocks, tmp_path, np.array([2, 2]), 0.99, InProcess())
    assert dropped.tolist() == [2, 3]
