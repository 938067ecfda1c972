"""Class names that fit the model better (dino.txt, section 4.5).

For each class the mean dense feature over its masks is compared with words near its name; of the
nearest ones those that label the pictures best with the name become its synonyms. Names are
searched on one set and scored on another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dinotxt.data.readers import MaskedImage
from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.analysis.drawing import IndexMap, draw_panels
from dinotxt.evaluation.analysis.labelling import Columns, LabelMap, best_labels
from dinotxt.evaluation.analysis.naming import NameSearch, Search
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
from dinotxt.evaluation.segmentation import job_labels, job_segmenter
from dinotxt.inference.dense import Mode, Query
from dinotxt.inference.features import LabelFeatures
from dinotxt.results.report import Metric
from dinotxt.text.prompt import synonyms

_NUM_EXAMPLES = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Both:
    """The original and the optimised names on the set that they are scored on."""

    study: Study
    names: tuple[str, ...]
    mode: Mode
    query: Query

    @classmethod
    def of(cls, study: Study, known: LabelFeatures, names: tuple[str, ...]) -> "_Both":
        first, second = job_segmenter(study.job, known), job_segmenter(study.job, names)
        text = np.concatenate([first.query.text, second.query.text])
        return cls(study, names, first.mode, replace(first.query, text=text))

    def label_maps(self, sample: Sample) -> tuple[LabelMap, LabelMap]:
        """Return the label maps of both lists of names; the picture is encoded once."""
        scores, count = self.mode.score_map(self.query, sample.picture), len(self.names)
        before = best_labels(Columns(scores, 0, count), sample.picture)
        return before, best_labels(Columns(scores, count, 2 * count), sample.picture)

    def draw(self, item: MaskedImage) -> Image.Image:
        """Draw picture, truth and both label maps."""
        sample = self.study.open(item)
        before, after = self.label_maps(sample)
        maps: dict[str, IndexMap] = {"truth": sample.truth, "original names": before}
        maps["optimised names"] = after
        pairs = zip(self.study.labels, self.names, strict=True)
        legend = [
            new if old == new or old in synonyms(new) else f"{old}: {new}" for old, new in pairs
        ]
        return draw_panels(sample.picture, maps, legend, self.study.masks.name)


def analyze_class_names(job: Job, search: Search) -> Finding:
    """Search better class names on one data set and measure what they bring on another.

    Returns:
        ``metrics``: ``original_miou``, ``optimised_miou`` and their difference ``gain``, on the
        data of the job. Details: ``names``, a row for each class in the order of the classes;
        ``search``, with the mean IoU on the places that were searched at the start and after each
        round; ``nearest``, the nearest words of each class. The examples are the pictures that
        gain most.

    Raises:
        ConfigError: If both sets are the same, or an override names no class.
        DataError: If the sets cannot be read or have other classes.
    """
    study, known = open_study(job), _open_search(job, search)
    if known.labels != study.labels:
        raise DataError(f"{search.data} and {job.data} have different classes.")
    given = job_labels(job, study.labels)
    names, tables = NameSearch(known, search, given).run()
    both = _Both.of(study, given, names)
    before, after = Tally(len(names)), Tally(len(names))
    for sample in study.samples():
        for tally, label_map in zip((before, after), both.label_maps(sample), strict=True):
            tally.add(sample, label_map)
    original, optimised = before.miou(), after.miou()
    metrics: dict[str, Metric] = {
        "original_miou": original,
        "optimised_miou": optimised,
        "gain": optimised - original,
    }
    ci = {"original_miou": before.interval(), "optimised_miou": after.interval()}
    ci["gain"] = before.gain_interval(after)
    settings = {**both.mode.settings(job.encoder), "candidates": search.candidates}
    settings["method"] = search.method
    report = study.report("class-names", len(before), metrics, ci, settings)
    rows = _rows(study.labels, names, before, after)
    return Finding(report, {"names": rows, **tables}, _examples(both, before, after))


def _open_search(job: Job, search: Search) -> Study:
    if Path(search.data).resolve() == Path(job.data).resolve():
        raise ConfigError(
            f"Names that were searched on {search.data} must be scored on other pictures: give "
            "--data and --search two different sets."
        )
    return open_study(replace(job, data=search.data))


def _rows(
    labels: Sequence[str], names: Sequence[str], before: Tally, after: Tally
) -> list[dict[str, Any]]:
    columns = zip(labels, names, before.total.iou(), after.total.iou(), strict=True)
    return [
        {
            "class": label,
            "name": name,
            "original_iou": None if np.isnan(old) else round(float(old), 6),
            "optimised_iou": None if np.isnan(new) else round(float(new), 6),
        }
        for label, name, old, new in columns
    ]


def _examples(both: _Both, before: Tally, after: Tally) -> list[Example]:
    gains = (after.accuracies() - before.accuracies()).tolist()
    return [
        Example(
            before.items[position].image.name,
            "pixel accuracy that the optimised names add",
            gains[position],
            partial(both.draw, before.items[position]),
        )
        for position in strongest(gains, _NUM_EXAMPLES)
    ]
