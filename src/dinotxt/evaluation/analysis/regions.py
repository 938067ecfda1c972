"""The dense features of regions: what the cells of a grid say of classes."""

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.readers import IGNORED
from dinotxt.inference.features import Features


def region_means(
    features: Features, truth: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Features]:
    """Return the classes of a picture and the mean feature of each one's pixels.

    Args:
        features: ``[h, w, Dp]``; a pixel has the feature of the cell that it lies in.
        truth: ``[H, W]``, 255 is no class.

    Returns:
        Classes ``[S]``, ascending, and means ``[S, Dp]``.
    """
    height, width, dim = features.shape
    rows = np.arange(truth.shape[0]) * height // truth.shape[0]
    columns = np.arange(truth.shape[1]) * width // truth.shape[1]
    cells = rows[:, None] * width + columns
    classes = np.unique(truth)
    classes = classes[classes != IGNORED]
    weights = np.zeros((len(classes), height * width), dtype=np.float32)
    for row, label in enumerate(classes):
        counts = np.bincount(cells[truth == label], minlength=height * width)
        weights[row] = counts / counts.sum()
    return classes, np.asarray(weights @ features.reshape(-1, dim))


def centre_labels(truth: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
    """Return the class of the pixel in the middle of each cell, ``[height, width]``."""
    rows = ((np.arange(height) + 0.5) * truth.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * truth.shape[1] / width).astype(int)
    return np.asarray(truth[rows[:, None], columns])
