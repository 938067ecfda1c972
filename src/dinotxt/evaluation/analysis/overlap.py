"""Errors that are no contradiction: parts, kinds and close seconds (dino.txt, section 4.5).

A window is part of a building, and a house is one: a picture has one true label a pixel, the world
has several.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from dinotxt.text.wordnet.lexicon import Lexicon, Relation

COUNTED: tuple[Relation, ...] = ("part", "hypernym", "hyponym")
_CODES: tuple[Relation, ...] = get_args(Relation)


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """Which labels WordNet relates.

    Attributes:
        labels: The class names.
        codes: int8 ``[C, C]`` by true and predicted label: what the predicted one is to the true
            one, a position in ``part whole hypernym hyponym``, or -1.
        unknown: Class names that WordNet does not have.
    """

    labels: tuple[str, ...]
    codes: NDArray[np.int8]
    unknown: tuple[str, ...]

    @classmethod
    def of(cls, labels: Sequence[str], lexicon: Lexicon | None) -> "Overlap":
        """Look up all pairs of labels; without WordNet none are related."""
        codes = np.full((len(labels), len(labels)), -1, dtype=np.int8)
        if lexicon is None:
            return cls(tuple(labels), codes, ())
        for row, true in enumerate(labels):
            for column, predicted in enumerate(labels):
                relation = lexicon.relation(true, predicted)
                if relation is not None:
                    codes[row, column] = _CODES.index(relation)
        unknown = tuple(label for label in labels if lexicon.sense(label) is None)
        return cls(tuple(labels), codes, unknown)

    def related(self) -> NDArray[np.bool_]:
        """Tell for which (true, predicted) labels the error counts as an overlap, ``[C, C]``."""
        return np.isin(self.codes, [_CODES.index(relation) for relation in COUNTED])

    def mask(
        self, truth: NDArray[np.int64], predicted: NDArray[np.integer], second: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Tell which wrong pixels are overlaps: by WordNet, or because the truth is second."""
        counted = truth < len(self.labels)
        rows = np.where(counted, truth, 0)
        overlapping = self.related()[rows, predicted] | second
        return np.asarray(overlapping & counted & (truth != predicted))

    def shares(self, wrong: NDArray[np.int64]) -> dict[str, float]:
        """Return the share of all wrong pixels under each relation.

        Args:
            wrong: int64 ``[C, C]``, wrong pixels by true and predicted label.
        """
        total = max(int(wrong.sum()), 1)
        return {
            relation: float(wrong[self.codes == code].sum() / total)
            for code, relation in enumerate(_CODES)
        }

    def pairs(self, wrong: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return the related pairs that are confused, the most frequent first."""
        total = max(int(wrong.sum()), 1)
        rows, columns = np.nonzero((self.codes >= 0) & (wrong > 0))
        pairs = [
            {
                "true": self.labels[row],
                "predicted": self.labels[column],
                "relation": _CODES[self.codes[row, column]],
                "share_of_wrong": round(float(wrong[row, column] / total), 6),
            }
            for row, column in zip(rows, columns, strict=True)
        ]
        return sorted(pairs, key=lambda pair: -float(pair["share_of_wrong"]))
