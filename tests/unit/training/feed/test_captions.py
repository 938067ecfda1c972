from collections.abc import Sequence

import numpy as np
import pytest

from dinotxt.errors import DataError
from dinotxt.text.tokenizer import TokenBatch
from dinotxt.training.feed.captions import CaptionTable

CAPTIONS = [["a", "bb", "ccc"], ["dddd"], ["ee", "f"]]


def letters(texts: Sequence[str]) -> TokenBatch:
    """One token a letter, padded with 99."""
    lengths = np.array([len(text) for text in texts])
    ids = np.full((len(texts), lengths.max()), 99)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = [ord(letter) for letter in text]
    return TokenBatch(ids, lengths, 99)


@pytest.fixture
def table() -> CaptionTable:
    return CaptionTable(CAPTIONS, letters, seed=3)


def words(table: CaptionTable, captions: np.ndarray) -> list[str]:
    ids, lengths = table.gather(captions)
    assert (ids[np.arange(ids.shape[1]) >= lengths[:, None]] == 0).all()
    return [
        "".join(chr(letter) for letter in row[:length])
        for row, length in zip(ids, lengths, strict=True)
    ]


def test_gathered_tokens_are_those_of_the_captions(table: CaptionTable) -> None:
    assert len(table) == 6
    assert words(table, np.array([5, 2, 3])) == ["f", "ccc", "dddd"]
    assert table.gather(np.array([0, 5]))[0].shape == (2, 1)


def test_all_captions_come_with_the_row_of_their_pair(table: CaptionTable) -> None:
    captions, owners = table.of(np.array([2, 0]))
    assert words(table, captions) == ["ee", "f", "a", "bb", "ccc"]
    assert owners.tolist() == [0, 0, 1, 1, 1]


def test_a_draw_depends_on_the_epoch_and_the_pair_but_not_on_the_batch(
    table: CaptionTable,
) -> None:
    draws = {tuple(table.draw(np.array([0, 1, 2]), epoch).tolist()) for epoch in range(40)}
    assert {draw[0] for draw in draws} == {0, 1, 2}
    assert {draw[1] for draw in draws} == {3}
    alone = table.draw(np.array([2]), 7)
    together = table.draw(np.array([1, 2]), 7)
    assert alone[0] == together[1]


def test_a_pair_without_a_caption_is_refused() -> None:
    with pytest.raises(DataError, match="pair 1 has no caption"):
        CaptionTable([["a"], []], letters, seed=0)
