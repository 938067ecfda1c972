"""Which errors a model makes: confusions, overlaps of meaning, leaks of context."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.readers import IGNORED
from dinotxt.evaluation.analysis.finding import Example, Finding, strongest
from dinotxt.evaluation.analysis.inspection import Choose, Inspection, Looked, wrong_by_label
from dinotxt.evaluation.analysis.labelling import labeller
from dinotxt.evaluation.analysis.leakage import Leak, context_leaks, context_of, leak_rows
from dinotxt.evaluation.analysis.overlap import Overlap
from dinotxt.evaluation.analysis.study import mode_settings, open_study
from dinotxt.evaluation.analysis.tally import Tally
from dinotxt.evaluation.job import Job
from dinotxt.results.report import Metric
from dinotxt.text.wordnet.lexicon import Lexicon

NUM_CONFUSIONS = 20
_NUM_SHOWN = 3  # of each kind of error


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
    inspection = Inspection(study, labeller(job, study.labels), overlap)
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
    settings = mode_settings(inspection.look.mode)
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
