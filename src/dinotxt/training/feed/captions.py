"""All captions of a run, tokenised once into flat arrays, and drawn or gathered by batch."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.order import caption_index
from dinotxt.errors import DataError
from dinotxt.text.tokenizer import TokenBatch

_CHUNK = 8192


class CaptionTable:
    """The token ids of every caption of every pair, without padding.

    Args:
        captions: The captions of each pair; every pair has at least one.
        tokenize: Turns texts into token ids.
        seed: The seed of the caption draw.

    Raises:
        DataError: If a pair has no caption.
    """

    def __init__(
        self,
        captions: Sequence[Sequence[str]],
        tokenize: Callable[[Sequence[str]], TokenBatch],
        *,
        seed: int,
    ) -> None:
        counts = np.array([len(texts) for texts in captions], dtype=np.int64)
        if counts.size and counts.min() == 0:
            raise DataError(f"pair {int(counts.argmin())} has no caption: drop it or give it one.")
        self._first = np.concatenate([[0], counts.cumsum()])
        self._counts = counts
        self._seed = seed
        ids, lengths = _tokenize([text for texts in captions for text in texts], tokenize)
        self._ids = ids
        self._lengths = lengths
        self._offsets = np.concatenate([[0], lengths.cumsum()])[:-1]

    def __len__(self) -> int:
        """Return the number of captions."""
        return len(self._lengths)

    def draw(self, pairs: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """Return one caption of each pair: a hash of (seed, epoch, pair)."""
        return self._first[pairs] + caption_index(self._seed, epoch, pairs, self._counts[pairs])

    def of(self, pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all captions of the pairs and, for each, the row of its pair in ``pairs``."""
        owners = np.repeat(np.arange(len(pairs)), self._counts[pairs])
        starts = np.concatenate([[0], self._counts[pairs].cumsum()])[:-1]
        within = np.arange(len(owners)) - starts[owners]
        return self._first[pairs][owners] + within, owners

    def gather(self, captions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ids ``[T, L]``, zero-padded to the longest, and lengths ``[T]``."""
        lengths = self._lengths[captions]
        position = np.arange(lengths.max(initial=0))
        real = position < lengths[:, None]
        ids = np.zeros(real.shape, dtype=np.int64)
        ids[real] = self._ids[(self._offsets[captions][:, None] + position)[real]]
        return ids, lengths


def _tokenize(
    texts: Sequence[str], tokenize: Callable[[Sequence[str]], TokenBatch]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    ids: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
    lengths: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(texts), _CHUNK):
        batch = tokenize(texts[start : start + _CHUNK])
        real = np.arange(batch.ids.shape[1]) < batch.lengths[:, None]
        ids.append(batch.ids[real].astype(np.int32))
        lengths.append(batch.lengths)
    return np.concatenate(ids), np.concatenate(lengths)
