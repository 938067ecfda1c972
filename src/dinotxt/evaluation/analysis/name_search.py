"""The search for class names on a data set: known places, near words, the best of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dinotxt.data.readers import IGNORED
from dinotxt.errors import ConfigError
from dinotxt.evaluation.analysis.labelling import Labeller, labeller
from dinotxt.evaluation.analysis.naming import Candidates, Cells, search_names
from dinotxt.evaluation.analysis.regions import centre_labels, dense_features
from dinotxt.evaluation.analysis.study import Study
from dinotxt.evaluation.analysis.vocabulary import (
    encode_words,
    near_words,
    nearest_names,
    read_vocabulary,
)
from dinotxt.inference.encoder import Features, unit
from dinotxt.text.prompt import synonyms

_STRIDE = 8  # pixels between the places that names are searched on
_MOST_CELLS = 1 << 18
_NUM_LISTED = 5  # nearest words in the report


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How class names are searched.

    Attributes:
        data: The data set to search on; its classes are those of the set to score on.
        vocabulary: A file with one word a line; None: WordNet's nouns.
        method: ``synonym`` adds to a name up to three words that label the pictures better with
            it, as ``name | word``; ``nearest`` takes the nearest word in its place (dino.txt, 4.5).
        candidates: How many words near a class's name are tried, by ``synonym``.
        overrides: Names by class that are set by hand and not searched.
    """

    data: str
    vocabulary: Path | None = None
    method: Literal["synonym", "nearest"] = "synonym"
    candidates: int = 20
    overrides: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class NameSearch:
    """The search on one data set.

    Attributes:
        study: The data set.
        search: The settings.
    """

    study: Study
    search: Search

    def run(self) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Return the names, in the order of the classes, and the tables of the report.

        Raises:
            ConfigError: If an override names no class.
            DataError: If no picture can be used.
        """
        labels = self.study.labels
        names = self._overridden()
        look = labeller(self.study.job, names)
        words = read_vocabulary(self.search.vocabulary)
        text = encode_words(look.encoder, words, progress=self.study.job.progress)
        cells = self._cells(look)
        classes, means = _class_means(cells)
        free = [label for label in classes if labels[label] == names[label]]
        near = near_words(words, text, means, look.text[classes], self.search.candidates)
        if self.search.method == "nearest":
            chosen = nearest_names(words, means @ text.T, classes, names, free)
            after = labeller(self.study.job, chosen).text
            history = [cells.miou(cells.scores(one).argmax(axis=0)) for one in (look.text, after)]
        else:
            offered = self._candidates(near, classes, free)
            chosen, history = search_names(cells, names, look.text, offered)
        tables = {
            "search": {
                "method": self.search.method,
                "data": self.search.data,
                "pictures": len(self.study.items),
                "places": len(cells.labels),
                "words": len(words),
                "miou": [round(value, 6) for value in history],
            },
            "nearest": {
                labels[label]: [[word, round(cosine, 4)] for word, cosine in found[:_NUM_LISTED]]
                for label, found in zip(classes, near, strict=True)
            },
        }
        return chosen, tables

    def _overridden(self) -> tuple[str, ...]:
        overrides = dict(self.search.overrides or {})
        unknown = sorted(overrides.keys() - set(self.study.labels))
        if unknown:
            known = ", ".join(self.study.labels[:10])
            raise ConfigError(f"There is no class {unknown[0]!r} to override ({known}).")
        return tuple(overrides.get(label, label) for label in self.study.labels)

    def _cells(self, look: Labeller) -> Cells:
        """Return places of all pictures, evenly, whose class is known."""
        share = max(1, _MOST_CELLS // max(len(self.study.items), 1))
        features, labels = [], []
        for sample in self.study.samples():
            grid = dense_features(look, sample.picture, _STRIDE)
            height, width, dim = grid.shape
            truth = centre_labels(sample.truth, height, width).ravel()
            places = np.flatnonzero(truth != IGNORED)
            places = places[:: max(1, -(-len(places) // share))]
            features.append(unit(grid.reshape(-1, dim)[places]).astype(np.float16))
            labels.append(truth[places])
        return Cells(np.concatenate(features), np.concatenate(labels), len(self.study.labels))

    def _candidates(
        self,
        near: Sequence[Sequence[tuple[str, float]]],
        classes: Sequence[int],
        free: Collection[int],
    ) -> dict[int, Candidates]:
        """Return words by class; each is encoded once, by the prompts of the evaluation."""
        labels = self.study.labels
        tried = {
            label: [word for word, _ in found if word not in synonyms(labels[label])]
            for label, found in zip(classes, near, strict=True)
            if label in free
        }
        distinct = list(dict.fromkeys(word for found in tried.values() for word in found))
        if not distinct:
            return {}
        own = labeller(self.study.job, distinct).text
        places = {word: place for place, word in enumerate(distinct)}
        return {
            label: Candidates(tuple(found), own[[places[word] for word in found]])
            for label, found in tried.items()
        }


def _class_means(cells: Cells) -> tuple[list[int], Features]:
    """Return the classes that occur and the mean feature of each, of length 1."""
    classes = np.unique(cells.labels).tolist()
    means = [
        cells.features[cells.labels == label].mean(axis=0, dtype=np.float64) for label in classes
    ]
    return classes, unit(np.stack(means).astype(np.float32))
