"""Label maps of opened pictures, with what an analysis asks for beyond the best label."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.pictures import Picture, picture_size
from dinotxt.inference.dense import Axis, ScoreMap, label_tiles, tile_rows
from dinotxt.inference.features import Features

LabelMap = NDArray[np.uint16]
_CLOSE_ODDS = 2.0


@dataclass(frozen=True, slots=True)
class Columns:
    """Some of the texts of a map of scores.

    Attributes:
        scores: The map.
        start: First text.
        stop: Text after the last one.
    """

    scores: ScoreMap
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        return self.scores.shape

    @property
    def num_texts(self) -> int:
        """The number of texts."""
        return self.stop - self.start

    def rows(self, start: int, stop: int) -> Features:
        """Return ``[stop - start, w, C]``."""
        return self.scores.rows(start, stop)[..., self.start : self.stop]


def best_labels(scores: ScoreMap, picture: Picture) -> LabelMap:
    """Return the best label of each pixel of a picture, ``[H, W]``."""
    width, height = picture_size(picture)
    label_map = np.empty((height, width), dtype=np.uint16)
    for rows, labels, _ in label_tiles(scores, scores.num_texts, height, width):
        label_map[rows] = labels
    return label_map


def close_seconds(
    scores: ScoreMap, truth: NDArray[np.int64], logit_scale: float
) -> NDArray[np.bool_]:
    """Tell where the true label comes second, at odds of less than two to one.

    Args:
        scores: Cosines, enlarged bilinearly to the size of the truth.
        truth: ``[H, W]``; values that are no label are never a second.
        logit_scale: What cosines are multiplied by before the softmax.
    """
    height, width = truth.shape
    second = np.zeros(truth.shape, dtype=bool)
    step = tile_rows(scores, height, width)
    for start in range(0, height, step):
        tile = np.s_[start : min(start + step, height)]
        true, best, above = _ranks(scores, truth[tile], height, start)
        second[tile] = (above == 1) & (best - true <= math.log(_CLOSE_ODDS) / logit_scale)
    return second


def _ranks(
    scores: ScoreMap, truth: NDArray[np.int64], height: int, start: int
) -> tuple[Features, Features, NDArray[np.int32]]:
    """Return the score of the true label, the best score and how many are above the true one."""
    down = Axis.between(scores.shape[0], height)
    across = Axis.between(scores.shape[1], truth.shape[1])
    low, high = down.span(start, start + len(truth))
    block = np.ascontiguousarray(scores.rows(low, high).transpose(2, 0, 1))
    part = down.part(start, start + len(truth))

    def enlarged(label: int) -> Features:
        return across.apply(part.apply(block[label], axis=0), axis=1)

    true = np.full(truth.shape, np.inf, dtype=np.float32)
    for label in range(len(block)):
        np.copyto(true, enlarged(label), where=truth == label)
    best = np.full(truth.shape, -np.inf, dtype=np.float32)
    above = np.zeros(truth.shape, dtype=np.int32)
    for label in range(len(block)):
        values = enlarged(label)
        np.maximum(best, values, out=best)
        above += values > true
    return true, best, above
