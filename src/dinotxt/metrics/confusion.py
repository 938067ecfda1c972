"""The confusion matrix of a segmentation and what follows from it: IoU, mIoU, pixel accuracy."""

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import DataError


class Confusion:
    """Pixel counts by true and predicted class, summed over pictures.

    A prediction that is no class (a pixel left unlabelled) counts as a miss: it stands in the
    last column of ``matrix``.

    Args:
        num_classes: How many classes there are.
        ignore: The truth value whose pixels do not count.
    """

    def __init__(self, num_classes: int, *, ignore: int = 255) -> None:
        self.num_classes = num_classes
        self.ignore = ignore
        self.matrix: NDArray[np.int64] = np.zeros((num_classes, num_classes + 1), dtype=np.int64)

    def add(self, truth: NDArray[np.integer], prediction: NDArray[np.integer]) -> None:
        """Count one picture.

        Args:
            truth: ``[H, W]``, class indices or ``ignore``.
            prediction: ``[H, W]``, class indices; any other value is unlabelled.

        Raises:
            DataError: If the sizes differ or the truth holds a value that is no class.
        """
        if truth.shape != prediction.shape:
            raise DataError(f"The mask is {truth.shape}, the prediction {prediction.shape}.")
        counted = truth != self.ignore
        true = truth[counted].astype(np.int64)
        if true.size and not 0 <= true.min() <= true.max() < self.num_classes:
            wrong = true.min() if true.min() < 0 else true.max()
            message = f"The mask holds {wrong}, but there are {self.num_classes} classes from 0"
            raise DataError(f"{message} (and {self.ignore} for ignored pixels).")
        predicted = prediction[counted].astype(np.int64)
        predicted[(predicted < 0) | (predicted >= self.num_classes)] = self.num_classes
        width = self.num_classes + 1
        flat = np.bincount(true * width + predicted, minlength=self.num_classes * width)
        self.matrix += flat.reshape(self.num_classes, width)

    def merge(self, other: "Confusion") -> None:
        """Add the counts of another one, as of another part of the data."""
        self.matrix += other.matrix

    def counts(self) -> NDArray[np.int64]:
        """Return ``[3, C]``: right pixels, true pixels and predicted pixels of each class."""
        square = self.matrix[:, : self.num_classes]
        return np.stack([np.diag(square), self.matrix.sum(axis=1), square.sum(axis=0)])

    def iou(self) -> NDArray[np.float64]:
        """Return the IoU of each class, ``[C]``; NaN for one that the truth never holds."""
        return iou(self.counts())

    def miou(self) -> float:
        """Return the mean IoU over the classes that the truth holds (NaN if there are none)."""
        return float(miou(self.counts()))

    def pixel_accuracy(self) -> float:
        """Return the share of counted pixels that are right (NaN if there are none)."""
        total = self.matrix.sum()
        return float(np.trace(self.matrix) / total) if total else float("nan")


def iou(counts: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ``[..., C]`` from ``[..., 3, C]`` counts; NaN where a class has no true pixel.

    mmseg gives 0 to such a class if it was predicted somewhere; on a full data set, where every
    class occurs, the two agree.
    """
    right, true, predicted = np.moveaxis(np.asarray(counts, dtype=np.float64), -2, 0)
    union = true + predicted - right
    present = true > 0
    return np.where(present, right / np.where(present, union, 1.0), np.nan)


def miou(counts: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean over classes with a true pixel, ``[...]`` from ``[..., 3, C]``."""
    values = iou(counts)
    present = ~np.isnan(values)
    total = np.where(present, values, 0.0).sum(axis=-1)
    num_present = present.sum(axis=-1)
    return np.where(num_present > 0, total / np.maximum(num_present, 1), np.nan)
