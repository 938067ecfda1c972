"""Recall@k between pictures and captions, both ways, with many captions a picture.

A picture counts as found for its caption when it is among the k best pictures; a caption counts
as found for its picture when any of the picture's captions is among the k best captions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import DataError
from dinotxt.metrics.topk import target_ranks


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalRanks:
    """The rank of the right answer of every query, 0 for the best.

    Attributes:
        text_to_image: ``[M]``, the rank of each caption's picture.
        image_to_text: ``[N]``, the rank of each picture's best caption.
    """

    text_to_image: NDArray[np.int64]
    image_to_text: NDArray[np.int64]

    def hits(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, NDArray[np.float64]]:
        """Return 1 for each query that was answered among the first ``k`` and 0 for the others."""
        directions = {
            "text_to_image": self.text_to_image,
            "image_to_text": self.image_to_text,
        }
        return {
            f"{direction}_recall@{k}": (ranks < k).astype(np.float64)
            for direction, ranks in directions.items()
            for k in ks
        }

    def metrics(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """Return the recalls as fractions, named ``text_to_image_recall@1`` and so on."""
        return {name: float(hits.mean()) for name, hits in self.hits(ks).items()}


def retrieval_ranks(
    image_features: NDArray[np.floating],
    text_features: NDArray[np.floating],
    image_of_text: NDArray[np.integer],
    *,
    chunk: int = 1024,
) -> RetrievalRanks:
    """Rank every picture for every caption and the other way, ``chunk`` queries at a time.

    Among equal scores the lower index comes first (see ``topk.target_ranks``). The whole matrix
    of scores is never held: the memory is ``chunk`` rows of it.

    Args:
        image_features: ``[N, D]``, normalised.
        text_features: ``[M, D]``, normalised.
        image_of_text: ``[M]``, the picture that each caption belongs to.
        chunk: Queries a step.

    Raises:
        DataError: If a caption names no picture or a picture has no caption.
    """
    owners = np.asarray(image_of_text, dtype=np.int64)
    _check(len(image_features), len(text_features), owners)
    by_owner = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[by_owner], np.arange(len(image_features) + 1))
    text_ranks = [
        target_ranks(text_features[part] @ image_features.T, owners[part])
        for part in _parts(len(text_features), chunk)
    ]
    image_ranks = [
        _best_caption_ranks(image_features[part] @ text_features.T, part.start, by_owner, starts)
        for part in _parts(len(image_features), chunk)
    ]
    return RetrievalRanks(np.concatenate(text_ranks), np.concatenate(image_ranks))


def _best_caption_ranks(
    scores: NDArray[np.floating],
    first: int,
    by_owner: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> NDArray[np.int64]:
    best = np.empty(len(scores), dtype=np.int64)
    for row in range(len(scores)):
        own = by_owner[starts[first + row] : starts[first + row + 1]]
        best[row] = own[np.argmax(scores[row, own])]
    return target_ranks(scores, best)


def _check(num_images: int, num_texts: int, owners: NDArray[np.int64]) -> None:
    if num_images == 0 or num_texts == 0:
        raise DataError("Retrieval needs at least one picture and one caption.")
    if owners.shape != (num_texts,) or owners.min() < 0 or owners.max() >= num_images:
        raise DataError("image_of_text must hold one picture index for every caption.")
    missing = np.setdiff1d(np.arange(num_images), owners)
    if missing.size:
        raise DataError(f"Picture {missing[0]} has no caption ({missing.size} in all have none).")


def _parts(total: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, total)) for start in range(0, total, chunk)]
