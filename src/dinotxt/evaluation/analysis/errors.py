"""Which errors a model makes: confusions, overlaps of meaning, leaks of context (section 4.5).

An overlap is no contradiction: a window is part of a building, and a house is one; a picture has
one true label a pixel, the world has several. A leak is a label that the rest of the picture
suggests: the paper's example is a wall that is called a shower because it is in a bathroom.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dinotxt.data.readers import IGNORED, MaskedImage
from dinotxt.evaluation.analysis.drawing import IndexMap, draw_panels
from dinotxt.evaluation.analysis.labelling import LabelMap, best_labels, close_seconds
from dinotxt.evaluation.analysis.study import (
    Example,
    Finding,
    Sample,
    Study,
    Tally,
    open_study,
    strongest,
)
from dinotxt.evaluation.job import Job
from dinotxt.evaluation.segmentation import job_segmenter
from dinotxt.inference.segmenter import Segmenter
from dinotxt.results.report import Metric
from dinotxt.text.wordnet.lexicon import Lexicon, Relation

COUNTED: tuple[Relation, ...] = ("part", "hypernym", "hyponym")
_CODES: tuple[Relation, ...] = get_args(Relation)
_LEAST_PICTURES = 2  # a single picture is no tendency
Mask = NDArray[np.bool_]
Choose = Callable[[NDArray[np.int64], LabelMap, Mask], Mask]
NUM_CONFUSIONS = 20
_NUM_SHOWN = 3  # of each kind of error


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


@dataclass(frozen=True, slots=True)
class Leak:
    """How much more often a label is wrong in one context.

    Attributes:
        label: The wrong label, a position.
        context: The class that covers most of the other pixels of these pictures, a position.
        lift: The rate of the wrong label in these pictures over its rate in all of them; the rate
            is the share of the pixels of other classes that have it.
        pictures: How many pictures have this context.
        pixels: Wrong pixels of the label in them.
    """

    label: int
    context: int
    lift: float
    pictures: int
    pixels: int


def context_leaks(truths: NDArray[np.int64], wrong: NDArray[np.int64]) -> list[Leak]:
    """Return the leaks, the largest lift first.

    Args:
        truths: ``[N, C]``, true pixels of each class by picture.
        wrong: ``[N, C]``, pixels of other classes that got the label.
    """
    leaks = []
    for label in range(truths.shape[1]):
        others = truths.sum(axis=1) - truths[:, label]
        if not wrong[:, label].sum():
            continue
        rate = wrong[:, label].sum() / others.sum()
        contexts = context_of(truths, label)
        for context in np.unique(contexts[contexts >= 0]).tolist():
            here = contexts == context
            pixels = int(wrong[here, label].sum())
            if here.sum() >= _LEAST_PICTURES and pixels:
                lift = float(pixels / others[here].sum() / rate)
                leaks.append(Leak(label, context, lift, int(here.sum()), pixels))
    return sorted(leaks, key=lambda leak: (-leak.lift, -leak.pixels))


def context_of(truths: NDArray[np.int64], label: int) -> NDArray[np.int64]:
    """Return the most frequent other class of each picture, ``[N]``; -1 if there is none."""
    others = truths.copy()
    others[:, label] = 0
    return np.where(others.any(axis=1), others.argmax(axis=1), -1)


def leak_rows(leaks: Sequence[Leak], labels: Sequence[str]) -> list[dict[str, object]]:
    """Return plain rows with names."""
    return [
        {
            "label": labels[leak.label],
            "context": labels[leak.context],
            "lift": round(leak.lift, 4),
            "pictures": leak.pictures,
            "pixels": leak.pixels,
        }
        for leak in leaks
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What one picture showed.

    Attributes:
        item: The picture.
        truths: int64 ``[C]``, true pixels by class.
        pairs: int64 ``[P, 2]``, (true, predicted) labels of its wrong pixels.
        pixels: int64 ``[P]``, how many.
        seconds: Wrong pixels whose true label is a close second.
        overlaps: Wrong pixels that are overlaps of any kind.
    """

    item: MaskedImage
    truths: NDArray[np.int64]
    pairs: NDArray[np.int64]
    pixels: NDArray[np.int64]
    seconds: int
    overlaps: int


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """A model on a data set, with what WordNet says of its classes.

    Attributes:
        study: The data set.
        look: The model.
        overlap: Which labels are related.
    """

    study: Study
    look: Segmenter
    overlap: Overlap

    def predict(self, sample: Sample) -> tuple[LabelMap, Mask]:
        """Return the label map, and where the true label is a close second."""
        scores = self.look.score_map(sample.picture)
        second = close_seconds(scores, sample.truth, self.look.encoder.logit_scale)
        return best_labels(scores, sample.picture), second

    def inspect(self, sample: Sample, tally: Tally) -> Looked:
        """Count a picture."""
        label_map, second = self.predict(sample)
        matrix = tally.add(sample, label_map).matrix[:, :-1].copy()
        truths = matrix.sum(axis=1)
        np.fill_diagonal(matrix, 0)
        pairs = np.argwhere(matrix)
        overlaps = self.overlap.mask(sample.truth, label_map, second)
        pixels = matrix[pairs[:, 0], pairs[:, 1]]
        seconds, overlapping = int(second.sum()), int(overlaps.sum())
        return Looked(sample.item, truths, pairs, pixels, seconds, overlapping)

    def draw(self, item: MaskedImage, choose: Choose) -> Image.Image:
        """Draw picture, truth, prediction, and the chosen pixels of the prediction alone."""
        sample = self.study.open(item)
        label_map, second = self.predict(sample)
        chosen = choose(sample.truth, label_map, second)
        alone = np.where(chosen, label_map, len(self.study.labels))
        maps: dict[str, IndexMap] = {"truth": sample.truth, "prediction": label_map}
        maps["these errors"] = alone
        return draw_panels(sample.picture, maps, self.study.labels, self.study.masks.name)


def wrong_by_label(looked: Looked, num_classes: int) -> NDArray[np.int64]:
    """Return the pixels of other classes that got each label, ``[C]``."""
    weights = np.bincount(looked.pairs[:, 1], looked.pixels, minlength=num_classes)
    return weights.astype(np.int64)


def analyze_errors(job: Job, lexicon: Lexicon | None) -> Finding:
    """Sort the errors of a model.

    Args:
        job: The model, the data set and the settings.
        lexicon: WordNet; None: where it is not at hand, ``part_whole_share`` is NaN.

    Returns:
        ``metrics``: ``miou``, ``pixel_accuracy``, and of the wrong pixels ``part_whole_share``:
        those whose predicted label is by WordNet a part, a hypernym or a hyponym of the true one,
        or whose true label comes second at odds of less than two to one. Details: ``confusion``,
        the 20 largest shares of a class that have one wrong label; ``part_whole``, the shares by
        relation; ``context_leak``, how much more often a label is wrong where a class covers most
        of the other pixels. The examples are the pictures with most such pixels.

    Raises:
        DataError: If the data cannot be read or no picture can be used.
    """
    study = open_study(job)
    overlap = Overlap.of(study.labels, lexicon)
    inspection = Inspection(study, job_segmenter(job, study.labels), overlap)
    tally = Tally(len(study.labels))
    looked = [inspection.inspect(sample, tally) for sample in study.samples()]
    wrong = tally.total.matrix[:, :-1].copy()
    np.fill_diagonal(wrong, 0)
    total = max(int(wrong.sum()), 1)
    seconds = sum(one.seconds for one in looked) / total
    metrics: dict[str, Metric] = {
        "miou": tally.miou(),
        "pixel_accuracy": tally.total.pixel_accuracy(),
        "part_whole_share": sum(one.overlaps for one in looked) / total if lexicon else math.nan,
        "close_second_share": seconds,
    }
    settings = inspection.look.mode.settings(job.encoder)
    report = study.report("errors", len(tally), metrics, {"miou": tally.interval()}, settings)
    leaks = _leaks(looked, len(study.labels))
    details = {
        "confusion": _confusion(wrong, tally.total.matrix.sum(axis=1), study.labels),
        "part_whole": {
            "shares": {**(overlap.shares(wrong) if lexicon else {}), "close_second": seconds},
            "pairs": overlap.pairs(wrong),
            "unknown": list(overlap.unknown),
        },
        "context_leak": leak_rows(leaks, study.labels),
    }
    return Finding(report, details, list(_examples(inspection, looked, wrong, leaks)))


def _confusion(
    wrong: NDArray[np.int64], truths: NDArray[np.int64], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the largest off-diagonal shares of the confusion matrix, by true class."""
    shares = wrong / np.maximum(truths, 1)[:, None]
    return [
        {
            "true": labels[true],
            "predicted": labels[predicted],
            "share_of_class": round(float(shares[true, predicted]), 6),
            "share_of_wrong": round(float(wrong[true, predicted] / wrong.sum()), 6),
        }
        for true, predicted in _largest(shares, NUM_CONFUSIONS)
    ]


def _largest(values: NDArray[np.float64], count: int) -> list[tuple[int, int]]:
    """Return the places of the largest values above 0 of a matrix."""
    places = strongest(values.ravel().tolist(), count)
    return [divmod(place, values.shape[1]) for place in places]


def _leaks(looked: Sequence[Looked], num_classes: int) -> list[Leak]:
    truths = np.stack([one.truths for one in looked])
    wrong = np.stack([wrong_by_label(one, num_classes) for one in looked])
    return context_leaks(truths, wrong)


def _examples(
    inspection: Inspection,
    looked: Sequence[Looked],
    wrong: NDArray[np.int64],
    leaks: Sequence[Leak],
) -> Iterator[Example]:
    """Yield the pictures with the largest share of each leading error."""
    labels, overlap = inspection.study.labels, inspection.overlap
    sizes = np.array([max(int(one.truths.sum()), 1) for one in looked])

    def best(pixels: NDArray[np.int64], shows: str, choose: Choose) -> Iterator[Example]:
        values = pixels / sizes
        for position in strongest(values.tolist(), 1):
            item = looked[position].item
            draw = partial(inspection.draw, item, choose)
            yield Example(item.image.name, shows, float(values[position]), draw)

    for true, predicted in _largest(wrong.astype(np.float64), _NUM_SHOWN):
        pixels = np.array([_pixels_of(one, true, predicted) for one in looked])
        shows = f"share of pixels of {labels[true]} called {labels[predicted]}"
        yield from best(pixels, shows, partial(_is_pair, true, predicted))
    pixels = np.array([one.overlaps for one in looked])
    yield from best(pixels, "share of pixels that are part-whole errors", overlap.mask)
    for leak in [leak for leak in leaks if leak.lift > 1][:_NUM_SHOWN]:
        pixels = np.array([_leaked(one, leak, len(labels)) for one in looked])
        name, context = labels[leak.label], labels[leak.context]
        shows = f"share of pixels wrongly called {name} where {context} is largest"
        yield from best(pixels, shows, partial(_is_wrong, leak.label))


def _pixels_of(looked: Looked, true: int, predicted: int) -> int:
    found = (looked.pairs == (true, predicted)).all(axis=1)
    return int(looked.pixels[found].sum())


def _leaked(looked: Looked, leak: Leak, num_classes: int) -> int:
    if context_of(looked.truths[None], leak.label)[0] != leak.context:
        return 0
    return int(wrong_by_label(looked, num_classes)[leak.label])


def _is_pair(
    true: int, predicted: int, truth: NDArray[np.int64], label_map: NDArray[np.uint16], second: Any
) -> NDArray[np.bool_]:
    del second
    return np.asarray((truth == true) & (label_map == predicted))


def _is_wrong(
    label: int, truth: NDArray[np.int64], label_map: NDArray[np.uint16], second: Any
) -> NDArray[np.bool_]:
    del second
    return np.asarray((label_map == label) & (truth != label) & (truth != IGNORED))
