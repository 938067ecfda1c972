"""Top-k accuracy by the rank of the right class."""

import numpy as np
from numpy.typing import NDArray


def target_ranks(scores: NDArray[np.floating], targets: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the rank of each row's target, 0 for the best.

    Among equal scores the class with the lower index comes first, as in a stable sort, so a
    model that gives every class the same score is right as often as chance.

    Args:
        scores: ``[N, C]``, larger is better.
        targets: ``[N]``, the index of the right class.

    Returns:
        ``[N]``.
    """
    rows = np.arange(len(targets))
    own = scores[rows, targets][:, None]
    better = (scores > own).sum(axis=1)
    earlier = np.arange(scores.shape[1])[None] < np.asarray(targets)[:, None]
    return np.asarray(better + ((scores == own) & earlier).sum(axis=1), dtype=np.int64)


def topk_accuracy(ranks: NDArray[np.integer], k: int) -> float:
    """Return the share of ``ranks`` (from ``target_ranks``) that are among the first ``k``."""
    return float(np.mean(ranks < k))
