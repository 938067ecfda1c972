"""The search for class names: whose words, taken together, label known pixels best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinotxt.inference.encoder import Features, unit
from dinotxt.text.prompt import synonyms

_LEAST_GAIN = 0.001  # of mean IoU: below it a change is chance
_ROUNDS = 3  # each adds one word to a name at most
_BLOCKS = 5


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
        return float(self.mious(predicted)[0])

    def mious(self, predicted: NDArray[np.integer]) -> Features:
        """Return the mean IoU of a labelling ``[N]`` over the classes that occur.

        Returns:
            ``[1 + B]``, of all places and of each of up to five blocks of neighbouring ones.
        """
        size, count = self.num_classes, len(self.labels)
        blocks = np.arange(count) * min(_BLOCKS, count) // count
        flat = np.bincount((blocks * size + self.labels) * size + predicted)
        flat = np.pad(flat, (0, -len(flat) % size**2))
        parts = flat.reshape(-1, size, size)
        matrices = np.concatenate([parts.sum(axis=0, keepdims=True), parts])
        true, found = matrices.sum(axis=2), matrices.sum(axis=1)
        right = np.diagonal(matrices, axis1=1, axis2=2)
        iou = right / np.maximum(true + found - right, 1)
        return np.asarray(iou.sum(axis=1) / (true > 0).sum(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Words that may join a class's name.

    Attributes:
        words: The words.
        text: ``[K, Dp]`` of length 1, their texts.
    """

    words: tuple[str, ...]
    text: Features


def search_names(
    cells: Cells, names: Sequence[str], text: Features, candidates: Mapping[int, Candidates]
) -> tuple[tuple[str, ...], list[float]]:
    """Add one word at a time to the names as a synonym, while the mean IoU surely grows.

    What counts is the lower of the gain on all places, and the mean gain on five blocks of them
    less its standard error: what helps a few pictures alone does not. A name gets three words at
    most: the mean of several depends less on each than one word does.

    Args:
        cells: What the names are judged by.
        names: Those to begin with, ``C``.
        text: ``[C, Dp]`` of length 1, their texts.
        candidates: By class, what may join its name.

    Returns:
        The names, as ``name | word | word``, and the mean IoU at the start and after each round.
    """
    chosen, scores = list(names), cells.scores(text)
    sums = text * np.array([[len(synonyms(name))] for name in names], dtype=np.float32)
    best = cells.mious(scores.argmax(axis=0))
    history = [float(best[0])]
    for _ in range(_ROUNDS):
        before = list(chosen)
        for label, offered in candidates.items():
            found = _best_word(cells, scores, label, unit(sums[label] + offered.text), best)
            if found is None:
                continue
            place, values, own = found
            name = " | ".join(synonyms(f"{chosen[label]} | {offered.words[place]}"))
            if name not in chosen:
                chosen[label], best, scores[label] = name, values, own
                sums[label] += offered.text[place]
        history.append(float(best[0]))
        if chosen == before:
            break
    return tuple(chosen), history


def _best_word(
    cells: Cells, scores: Features, label: int, text: Features, best: Features
) -> tuple[int, Features, Features] | None:
    """Return which text raises the mean IoU most surely, the new mean IoUs and its scores."""
    others = scores.copy()
    others[label] = -np.inf
    rival, rival_score = others.argmax(axis=0), others.max(axis=0)
    found, most = None, _LEAST_GAIN
    for place, own in enumerate(cells.scores(text)):
        wins = (own > rival_score) | ((own == rival_score) & (label < rival))
        values = cells.mious(np.where(wins, label, rival))
        gain = _sure_gain(values - best)
        if gain > most:
            found, most = (place, values, own), gain
    return found


def _sure_gain(gains: Features) -> float:
    """Return the gain on all, or the mean gain on blocks less its error where that is lower."""
    blocks = gains[1:]
    error = blocks.std(ddof=1) / np.sqrt(len(blocks)) if len(blocks) > 1 else 0.0
    return float(min(gains[0], blocks.mean() - error))
