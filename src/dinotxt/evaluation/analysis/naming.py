"""The search for class names: whose words, taken together, label known pixels best."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinotxt.inference.encoder import Features

_LEAST_GAIN = 0.001  # of mean IoU: below it a change is chance
_ROUNDS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Places of pictures with known classes.

    Attributes:
        features: float16 ``[N, Dp]``.
        labels: int64 ``[N]``, from 0 to C - 1.
        num_classes: How many classes C there are.
    """

    features: NDArray[np.float16]
    labels: NDArray[np.int64]
    num_classes: int

    def scores(self, text: Features) -> Features:
        """Return products with texts ``[T, Dp]``, ``[T, N]``: cosines up to a factor a place."""
        parts = [
            self.features[start : start + 65536].astype(np.float32) @ text.T
            for start in range(0, len(self.features), 65536)
        ]
        return np.ascontiguousarray(np.concatenate(parts).T)

    def miou(self, predicted: NDArray[np.integer]) -> float:
        """Return the mean IoU of a labelling ``[N]``, over the classes that occur."""
        size = self.num_classes
        flat = np.bincount(self.labels * size + predicted, minlength=size * size)
        matrix = flat.reshape(size, size)
        right, true, found = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        present = true > 0
        return float(np.mean(right[present] / (true + found - right)[present]))


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Words that may take the place of a class's name.

    Attributes:
        words: The words.
        text: ``[K, Dp]``, their texts.
    """

    words: tuple[str, ...]
    text: Features


def search_names(
    cells: Cells, names: Sequence[str], text: Features, candidates: Mapping[int, Candidates]
) -> tuple[tuple[str, ...], list[float]]:
    """Replace one name at a time by its best candidate, while the mean IoU grows.

    No two classes get the same name.

    Args:
        cells: What the names are judged by.
        names: Those to begin with, ``C``.
        text: ``[C, Dp]``, their texts.
        candidates: By class, what may take its name's place.

    Returns:
        The names, and the mean IoU at the start and after each round.
    """
    chosen, scores = list(names), cells.scores(text)
    best = cells.miou(scores.argmax(axis=0))
    history = [best]
    for _ in range(_ROUNDS):
        before = best
        for label, offered in candidates.items():
            taken = {name for other, name in enumerate(chosen) if other != label}
            found = _best_candidate(cells, scores, label, offered, taken, best)
            if found is not None:
                chosen[label], best, scores[label] = found
        history.append(best)
        if best == before:
            break
    return tuple(chosen), history


def _best_candidate(
    cells: Cells,
    scores: Features,
    label: int,
    offered: Candidates,
    taken: Collection[str],
    best: float,
) -> tuple[str, float, Features] | None:
    """Return the word that raises the mean IoU most, the new mean IoU and its scores."""
    others = scores.copy()
    others[label] = -np.inf
    rival, rival_score = others.argmax(axis=0), others.max(axis=0)
    found = None
    for word, own in zip(offered.words, cells.scores(offered.text), strict=True):
        wins = (own > rival_score) | ((own == rival_score) & (label < rival))
        value = cells.miou(np.where(wins, label, rival))
        if value > best + _LEAST_GAIN and word not in taken:
            found, best = (word, value, own), value
    return found
