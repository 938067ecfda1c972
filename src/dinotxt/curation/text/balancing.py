"""Text balancing after MetaCLIP: frequent entries keep each of their captions more rarely.

Paper section 3.2; Xu et al. 2024, "Demystifying CLIP data", algorithm 1.
"""

import numpy as np
from numpy.typing import NDArray

from dinotxt.curation.text.matching import Matches
from dinotxt.errors import ConfigError


def entry_probabilities(counts: NDArray[np.uint64], threshold: int) -> NDArray[np.float64]:
    """Return ``p_e = min(1, t / count_e)`` for each entry.

    Args:
        counts: ``[E]``, how many captions hold each entry.
        threshold: The number t of captions that an entry keeps on average.
    """
    return np.minimum(1.0, threshold / np.maximum(counts, 1).astype(np.float64))


def keep_probabilities(matches: Matches, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``1 - prod(1 - p_e)`` over the entries of each caption; 0 without entries.

    Args:
        matches: The entries of n captions.
        probabilities: ``[E]`` from `entry_probabilities`.
    """
    with np.errstate(divide="ignore"):
        logs = np.log1p(-probabilities)[matches.entries]
    keep = np.zeros(len(matches), dtype=np.float64)
    has_entries = np.diff(matches.offsets) > 0
    if has_entries.any():
        starts = matches.offsets[:-1][has_entries]
        keep[has_entries] = -np.expm1(np.add.reduceat(logs, starts))
    return keep


def threshold_of_tail(counts: NDArray[np.uint64], tail_share: float) -> int:
    """Return the t for which entries below t hold about a share of all matches.

    MetaCLIP's rule of thumb is 0.06: t = 20,000 for 400 million captions.

    Args:
        counts: ``[E]``, how many captions hold each entry.
        tail_share: A share between 0 and 1.

    Raises:
        ConfigError: If no caption holds any entry.
    """
    ordered = np.sort(counts[counts > 0])
    if not len(ordered):
        raise ConfigError(
            "No caption holds any metadata entry, so that no threshold can be chosen: "
            "set `text.threshold`, or use other `metadata.sources`."
        )
    cumulative = np.cumsum(ordered, dtype=np.float64)
    first = int(np.searchsorted(cumulative, tail_share * cumulative[-1]))
    return int(ordered[min(first, len(ordered) - 1)])


def tail_of_threshold(counts: NDArray[np.uint64], threshold: int) -> float:
    """Return the share of all matches that belong to entries with fewer than t captions."""
    total = float(counts.sum(dtype=np.float64))
    return float(counts[counts < threshold].sum(dtype=np.float64)) / total if total else 0.0
