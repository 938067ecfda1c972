"""The search for class names: whose words, taken together, label known pixels best.

From the outside in: ``NameSearch`` has the known places and the words near each name,
``search_names`` tries them, ``near_words`` and ``nearest_names`` rank the vocabulary.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.readers import IGNORED
from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.analysis.regions import centre_labels
from dinotxt.evaluation.analysis.study import Study
from dinotxt.evaluation.segmentation import job_segmenter
from dinotxt.files import read_lines
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.features import Features, LabelFeatures, unit
from dinotxt.inference.prompt_cache import kept_embeddings
from dinotxt.inference.segmenter import Segmenter
from dinotxt.results.skip import Progress
from dinotxt.text.prompt import synonyms
from dinotxt.text.wordnet import wordnet_nouns

_TEMPLATES = "simple"  # one prompt a word: the vocabulary is large
_LEAST_GAIN = 0.001  # of mean IoU: below it a change is chance
_ROUNDS = 3  # each adds one word to a name at most
_BLOCKS = 5
_STRIDE = 8  # pixels between the places that names are searched on
_MOST_CELLS = 1 << 18
_NUM_LISTED = 5  # nearest words in the report


def read_vocabulary(path: Path | None) -> tuple[str, ...]:
    """Return the words of a file, one a line; None takes WordNet's nouns.

    Raises:
        ConfigError: If the file cannot be read or has no word.
    """
    if path is None:
        return tuple(wordnet_nouns())
    try:
        words = tuple(dict.fromkeys(line for line in read_lines(path) if line))
    except DataError as error:
        raise ConfigError(f"The vocabulary {error}") from None
    if not words:
        raise ConfigError(f"The vocabulary {path} is empty: give one word a line.")
    return words


def encode_words(
    encoder: Encoder, words: Sequence[str], *, progress: Progress | None = None
) -> Features:
    """Return what patches compare with for each word, ``[V, Dp]``; kept on disk.

    Args:
        encoder: The model.
        words: The vocabulary.
        progress: Called with (done, total) words.
    """
    patterns = encoder.defaults.find_templates(_TEMPLATES)

    def encode(labels: Sequence[str], *, progress: Progress) -> Features:
        return encoder.dense_text(encoder.average_prompts(labels, patterns, progress=progress))

    return kept_embeddings(
        words,
        patterns,
        fingerprint=f"{encoder.fingerprint} patches",
        width=encoder.towers.patch_dim,
        encode=encode,
        progress=progress,
    )


def near_words(
    words: Sequence[str], text: Features, regions: Features, names: Features, count: int
) -> list[list[tuple[str, float]]]:
    """Return the words nearest to the name of each region, with their cosines to the region.

    Words that are far from the name fit the pictures of a search by chance alone.

    Args:
        words: The vocabulary.
        text: ``[V, Dp]``, the words.
        regions: ``[C, Dp]`` of length 1, the mean dense feature of each class.
        names: ``[C, Dp]`` of length 1, the name of each class.
        count: How many a region.

    Returns:
        The nearest to the region first.
    """
    chosen = []
    for region, name in zip(regions, names, strict=True):
        akin = np.array(_top(text @ name, count))
        cosines = text[akin] @ region
        order = _top(cosines, count)
        chosen.append([(words[akin[place]], float(cosines[place])) for place in order])
    return chosen


def nearest_names(
    words: Sequence[str],
    near: Features,
    classes: Sequence[int],
    names: Sequence[str],
    free: Collection[int],
) -> tuple[str, ...]:
    """Return the names with the nearest word in place of each free one; no word is there twice.

    Args:
        words: The vocabulary.
        near: ``[C, V]``, the cosines of the classes that occur with the words.
        classes: Their numbers.
        names: The names of all classes.
        free: The classes that get another name.
    """
    chosen = list(names)
    for label, values in zip(classes, near, strict=True):
        if label in free:
            order = (words[place] for place in _top(values, len(names)))
            chosen[label] = next((word for word in order if word not in chosen), names[label])
    return tuple(chosen)


def _top(values: Features, count: int) -> list[int]:
    return [int(place) for place in np.argsort(-values, kind="stable")[:count]]


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
        known: The original names with their features.
    """

    study: Study
    search: Search
    known: LabelFeatures

    def run(self) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Return the names, in the order of the classes, and the tables of the report.

        Raises:
            ConfigError: If an override names no class.
            DataError: If no picture can be used.
        """
        labels = self.study.labels
        names = self._overridden()
        look = job_segmenter(self.study.job, self.known if names == labels else names)
        words = read_vocabulary(self.search.vocabulary)
        text = encode_words(look.encoder, words, progress=self.study.job.progress)
        cells = self._cells(look)
        classes, means = _class_means(cells)
        free = [label for label in classes if labels[label] == names[label]]
        near = near_words(words, text, means, look.query.text[classes], self.search.candidates)
        if self.search.method == "nearest":
            chosen = nearest_names(words, means @ text.T, classes, names, free)
            after = job_segmenter(self.study.job, chosen)
            texts = (look.query.text, after.query.text)
            history = [cells.miou(cells.scores(one).argmax(axis=0)) for one in texts]
        else:
            offered = self._candidates(near, classes, free)
            chosen, history = search_names(cells, names, look.query.text, offered)
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

    def _cells(self, look: Segmenter) -> Cells:
        """Return places of all pictures, evenly, whose class is known."""
        share = max(1, _MOST_CELLS // max(len(self.study.items), 1))
        features, labels = [], []
        for sample in self.study.samples():
            grid = look.mode.features(look.query, sample.picture, stride=_STRIDE)
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
        own = job_segmenter(self.study.job, distinct).query.text
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
