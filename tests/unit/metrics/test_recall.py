import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinotxt.errors import DataError
from dinotxt.metrics.recall import retrieval_ranks


def test_recall_finds_pictures_and_any_of_their_captions() -> None:
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0.5, 0.6]], dtype=np.float32)
    ranks = retrieval_ranks(images, texts, np.array([0, 0, 1, 2]))
    assert ranks.text_to_image.tolist() == [0, 1, 0, 0]
    assert ranks.image_to_text.tolist() == [0, 0, 1]
    metrics = ranks.metrics(ks=(1,))
    assert metrics == {"text_to_image_recall@1": 0.75, "image_to_text_recall@1": 2 / 3}


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_chunks_give_what_a_full_sort_gives(seed: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(-2, 3, (5, 3)).astype(np.float32)
    texts = rng.integers(-2, 3, (12, 3)).astype(np.float32)
    owners = np.concatenate([np.arange(5), rng.integers(0, 5, 7)])
    ranks = retrieval_ranks(images, texts, owners, chunk=chunk)
    by_text = np.argsort(-(texts @ images.T), axis=1, kind="stable")
    by_image = np.argsort(-(images @ texts.T), axis=1, kind="stable")
    assert ranks.text_to_image.tolist() == [by_text[i].tolist().index(owners[i]) for i in range(12)]
    assert ranks.image_to_text.tolist() == [
        int(np.flatnonzero(owners[by_image[i]] == i)[0]) for i in range(5)
    ]


@pytest.mark.parametrize("owners", [[0, 0, 0], [0, 1, 2], [0, 1]])
def test_captions_must_cover_the_pictures(owners: list[int]) -> None:
    images, texts = np.eye(2), np.ones((3, 2))
    with pytest.raises(DataError, match=r"caption|picture"):
        retrieval_ranks(images, texts, np.array(owners))


def test_nothing_to_rank_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one"):
        retrieval_ranks(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0, dtype=int))
