"""Pixel-adaptive mask refinement (PAMR; Araslanov and Roth, 2020, section 3.3).

Scores move to neighbours of like colour: each pixel takes the mean of its neighbours' scores,
weighted by how near their colours are to its own, several times over. TCL's main table uses it
with the settings that are the defaults here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.pictures import Picture, Transform, picture_size
from dinotxt.errors import ConfigError
from dinotxt.inference.dense.scores import Axis, GridScores, ScoreMap
from dinotxt.inference.features import Features
from dinotxt.inference.inputs import scaled_size

_STEPS = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))
_SHARPNESS = 0.1  # of the local deviation: the unit in which colours differ
_MOST_NUMBERS = 1 << 28
_LABELS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Pamr:
    """The refinement's settings.

    Attributes:
        num_iterations: How often scores move.
        dilations: Distances in pixels of the 3 x 3 neighbourhoods.
        short_side: Scores are refined on the picture with this short side; a larger picture
            takes them enlarged bilinearly, so memory does not grow with it.

    Raises:
        ConfigError: If a setting is not positive.
    """

    num_iterations: int = 10
    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    short_side: int = 448

    def __post_init__(self) -> None:
        """Check the values."""
        if min(self.num_iterations, self.short_side, *self.dilations, len(self.dilations)) < 1:
            raise ConfigError("Pamr: iterations, dilations and short_side must be positive.")

    def refine(self, scores: ScoreMap, picture: Picture, transform: Transform) -> GridScores:
        """Return refined scores on a grid of the picture's aspect."""
        width, height = self._size(picture, scores.num_texts)
        small = transform.resize(picture, (width, height))
        colours = np.asarray(small, dtype=np.float32)
        if colours.ndim == 3 and not isinstance(small, np.ndarray):
            colours = colours.transpose(2, 0, 1)  # of any scale: differences are relative
        weights = affinities(colours, self.dilations)
        values = enlarge(scores, height, width)
        for start in range(0, scores.num_texts, _LABELS_AT_ONCE):
            part = values[start : start + _LABELS_AT_ONCE]
            for _ in range(self.num_iterations):
                part = spread(part, weights, self.dilations)
            values[start : start + _LABELS_AT_ONCE] = part
        return GridScores(values.transpose(1, 2, 0))

    def _size(self, picture: Picture, num_texts: int) -> tuple[int, int]:
        """Return (width, height): never more than the picture's own or than fits in memory."""
        short = min(self.short_side, *picture_size(picture))
        width, height = scaled_size(picture, short)
        shrink = min(1.0, (_MOST_NUMBERS / (width * height * num_texts)) ** 0.5)
        return max(1, int(width * shrink)), max(1, int(height * shrink))


def affinities(colours: NDArray[np.float32], dilations: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the share ``[P, h, w]`` of each of the P neighbours of a pixel, of sum 1.

    Args:
        colours: ``[K, h, w]``, of any scale.
        dilations: Distances of the 3 x 3 neighbourhoods; beyond the border the edge holds.
    """
    total, squares = np.zeros_like(colours), np.zeros_like(colours)
    centred = colours - colours.mean(axis=(1, 2), keepdims=True)
    around = list(_neighbours(centred, dilations))
    for neighbour in [*around, *[centred] * len(dilations)]:
        total += neighbour
        squares += neighbour * neighbour
    count = len(around) + len(dilations)
    variance = (squares - total * total / count) / (count - 1)
    unit = _SHARPNESS * np.sqrt(np.maximum(variance, 0)) + 1e-8
    logits = np.stack([-(np.abs(centred - near) / unit).mean(axis=0) for near in around])
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return np.asarray(logits, dtype=np.float32)


def spread(
    values: NDArray[np.float32], weights: NDArray[np.float32], dilations: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the weighted mean ``[C, h, w]`` over the neighbours of values ``[C, h, w]``."""
    out = np.zeros_like(values)
    for neighbour, weight in zip(_neighbours(values, dilations), weights, strict=True):
        out += neighbour * weight
    return out


def enlarge(scores: ScoreMap, height: int, width: int) -> NDArray[np.float32]:
    """Return a map's scores at another size, ``[C, height, width]``."""
    rows, columns = scores.shape
    values = scores.rows(0, rows).transpose(2, 0, 1)
    down, across = Axis.between(rows, height), Axis.between(columns, width)
    return np.stack([across.apply(down.apply(one, axis=0), axis=1) for one in values])


def _neighbours(values: NDArray[np.float32], dilations: tuple[int, ...]) -> list[Features]:
    """Return views of the values as each neighbour of a pixel sees them."""
    height, width = values.shape[1:]
    reach = max(dilations)
    padded = np.pad(values, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    return [
        padded[:, reach + y * d : reach + y * d + height, reach + x * d : reach + x * d + width]
        for d in dilations
        for y, x in _STEPS
    ]
