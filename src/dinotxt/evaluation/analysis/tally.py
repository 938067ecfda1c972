"""Counts of right and wrong pixels, by picture."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.readers import IGNORED, MaskedImage
from dinotxt.evaluation.analysis.study import Sample
from dinotxt.metrics.bootstrap import bootstrap_interval, miou_interval
from dinotxt.metrics.confusion import Confusion, miou
from dinotxt.results.report import Interval


class Tally:
    """The confusion of each picture and of all.

    Args:
        num_classes: How many classes there are.

    Attributes:
        items: The pictures counted so far.
        total: The confusion of all.
    """

    def __init__(self, num_classes: int) -> None:
        self.items: list[MaskedImage] = []
        self.total = Confusion(num_classes, ignore=IGNORED)
        self._counts: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return len(self.items)

    def add(self, sample: Sample, label_map: NDArray[np.integer]) -> Confusion:
        """Count a picture and return its confusion."""
        one = Confusion(self.total.num_classes, ignore=IGNORED)
        one.add(sample.truth, label_map)
        self.total.merge(one)
        self.items.append(sample.item)
        self._counts.append(one.counts())
        return one

    def miou(self) -> float:
        """Return the mean IoU over the classes that the truth holds."""
        return self.total.miou()

    def iou(self, labels: Sequence[str]) -> dict[str, float]:
        """Return the IoU by class name; NaN for a class that the truth never holds."""
        return dict(zip(labels, self.total.iou().tolist(), strict=True))

    def interval(self) -> Interval:
        """Return the 95% bootstrap interval of the mean IoU."""
        return miou_interval(np.stack(self._counts))

    def gain_interval(self, other: "Tally") -> Interval:
        """Return the interval of the other mean IoU minus this one, on the same pictures."""
        pairs = np.stack([np.stack(self._counts), np.stack(other._counts)], axis=1)
        shape = (-1, *pairs.shape[1:])

        def gain(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            values = miou(sums.reshape(shape))
            return np.asarray(values[:, 1] - values[:, 0])

        return bootstrap_interval(pairs.reshape(len(pairs), -1), gain)

    def accuracies(self) -> NDArray[np.float64]:
        """Return the share of right pixels of each picture (0 where all are ignored)."""
        right, true, _ = np.moveaxis(np.stack(self._counts).sum(axis=-1), -1, 0)
        return np.asarray(right / np.maximum(true, 1))
