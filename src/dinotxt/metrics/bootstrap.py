"""Bootstrap intervals: how much a figure would move with another sample of the same size."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dinotxt.metrics.confusion import miou

Statistic: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def bootstrap_interval(
    records: NDArray[np.floating] | NDArray[np.integer],
    statistic: Statistic,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95% percentile interval of a statistic of the records' sum.

    Args:
        records: ``[N, F]``, one row for each independent unit (a picture, a query).
        statistic: From the sums of resampled rows, ``[resamples, F]``, to ``[resamples]``.
        resamples: How many samples of ``N`` rows, with replacement.
        seed: Of the resampling; the same seed gives the same interval.
    """
    rng = np.random.default_rng(seed)
    table = np.asarray(records, dtype=np.float64)
    num_records = len(table)
    sums = np.empty((resamples, table.shape[1]))
    for row in range(resamples):
        drawn = rng.integers(num_records, size=num_records)
        sums[row] = np.bincount(drawn, minlength=num_records) @ table
    values = statistic(sums)
    if np.isnan(values).all():  # nothing in the records to measure
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def mean_interval(
    values: NDArray[np.floating] | NDArray[np.bool_], *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% interval of the mean of ``[N]`` values, such as hits of queries."""
    column = np.asarray(values, dtype=np.float64)[:, None]
    return bootstrap_interval(
        column, lambda sums: sums[:, 0] / len(column), resamples=resamples, seed=seed
    )


def miou_interval(
    counts: NDArray[np.integer], *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% interval of the mean IoU, resampling pictures.

    Args:
        counts: ``[N, 3, C]``, ``Confusion.counts`` of each picture.
        resamples: How many samples of ``N`` pictures.
        seed: Of the resampling.
    """
    num_classes = counts.shape[2]
    return bootstrap_interval(
        counts.reshape(len(counts), -1),
        lambda sums: miou(sums.reshape(-1, 3, num_classes)),
        resamples=resamples,
        seed=seed,
    )
