"""Dense features of a picture on a grid, and their means over regions."""

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.pictures import Picture, picture_size
from dinotxt.data.readers import IGNORED
from dinotxt.evaluation.analysis.labelling import Labeller
from dinotxt.inference.dense import HighRes, WindowScores
from dinotxt.inference.dense.projection import FeatureGrid
from dinotxt.inference.encoder import Features, unit


def dense_features(look: Labeller, picture: Picture, stride: int) -> Features:
    """Return the mean feature of every cell of a grid, ``[h, w, Dp]``, as the mode sees it.

    Args:
        look: The model and the mode.
        picture: An opened picture.
        stride: Pixels between the cells; the mode ``highres`` has its own.
    """
    mode, encoder = look.mode, look.encoder
    if isinstance(mode, HighRes):
        return mode.features(encoder, picture, batch_size=look.batch_size)
    scores = mode.score_map(
        encoder, picture, look.text, upsample="features", batch_size=look.batch_size
    )
    assert isinstance(scores, WindowScores), "other modes look through windows"
    width, height = picture_size(picture)
    rows, columns = max(1, round(height / stride)), max(1, round(width / stride))
    grid = FeatureGrid(rows, columns, scores.features.shape[-1])
    grid.add(_quads(scores), unit(scores.features))
    return grid.mean()


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


def _quads(scores: WindowScores) -> NDArray[np.float64]:
    """Return the corners of the windows as shares of the picture's sides, ``[W, 4, 2]``."""
    height, width = scores.shape
    quads = []
    for window in scores.windows:
        left, right = window.left / width, (window.left + window.width) / width
        top, bottom = window.top / height, (window.top + window.height) / height
        quads.append([(left, top), (right, top), (right, bottom), (left, bottom)])
    return np.array(quads, dtype=np.float64)
