"""Features as values: arrays of float32, their means over prompts, and labels with theirs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dinotxt.errors import ConfigError

Features = NDArray[np.float32]
Averaging = Literal["unit", "plain", "patch"]


@dataclass(frozen=True, slots=True, eq=False)
class LabelFeatures:
    """Labels and one text feature for each: what a classifier or a segmenter is made of.

    ``Encoder.encode_labels`` makes them, by any templates and any way of averaging prompts.

    Attributes:
        labels: The texts, as they were given; ``a | b`` are synonyms.
        features: float32 ``[C, E]`` of length 1.

    Raises:
        ConfigError: If there is not one feature for each label.
    """

    labels: tuple[str, ...]
    features: Features

    def __post_init__(self) -> None:
        """Check the number."""
        if not self.labels or self.features.ndim != 2 or len(self.features) != len(self.labels):
            shape = list(self.features.shape)
            raise ConfigError(f"{len(self.labels)} labels, features {shape}: give one row a label.")

    def check_width(self, width: int) -> None:
        """Refuse features of another model.

        Raises:
            ConfigError: If they are not ``width`` numbers each.
        """
        found = self.features.shape[1]
        if found != width:
            message = f"The labels' features have {found} numbers, those of this model {width}"
            raise ConfigError(f"{message}: encode the labels with this model.")


def unit(features: Features) -> Features:
    """Scale the last axis to length 1; zeros stay zeros."""
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-12), dtype=np.float32)


def group_means(features: Features, counts: Sequence[int]) -> Features:
    """Return the mean of each group of consecutive rows, ``[G, E]`` of length 1.

    Args:
        features: ``[N, E]``.
        counts: How many rows each group has, ``N`` in all.
    """
    starts = np.cumsum([0, *counts[:-1]])
    return unit(np.add.reduceat(features, starts, axis=0))
