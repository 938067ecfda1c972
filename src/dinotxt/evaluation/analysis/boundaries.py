"""The perfect-boundary topline (dino.txt, section 4.5).

High-resolution inference cuts a picture into the segments of k-means. With the masks of the truth
in their place, each still labelled by its mean feature, what is left are errors of naming.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image

from dinotxt.data.readers import IGNORED, MaskedImage
from dinotxt.errors import ConfigError
from dinotxt.evaluation.analysis.drawing import IndexMap, draw_panels
from dinotxt.evaluation.analysis.labelling import LabelMap, best_labels
from dinotxt.evaluation.analysis.regions import region_means
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
from dinotxt.evaluation.segmentation import chosen_mode, job_segmenter
from dinotxt.inference.dense import Mode, cosines
from dinotxt.inference.segmenter import Segmenter
from dinotxt.results.report import Metric

_NUM_EXAMPLES = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Topline:
    """High-resolution inference with either kind of segments."""

    study: Study
    look: Segmenter

    def both(self, sample: Sample) -> tuple[LabelMap, LabelMap]:
        """Return the label maps of the segments of k-means and of the masks."""
        mode, query = self.look.mode, self.look.query
        features = mode.features(query, sample.picture)
        found = best_labels(mode.scores(features, query.text), sample.picture)
        classes, means = region_means(features, sample.truth)
        names = cosines(means, query.text).argmax(axis=1)
        topline = np.full(sample.truth.shape, IGNORED, dtype=np.uint16)
        for label, name in zip(classes, names, strict=True):
            topline[sample.truth == label] = name
        return found, topline

    def draw(self, item: MaskedImage) -> Image.Image:
        """Draw picture, truth and both label maps."""
        sample = self.study.open(item)
        found, perfect = self.both(sample)
        maps: dict[str, IndexMap] = {"truth": sample.truth, "high-resolution": found}
        maps["masks of the truth"] = perfect
        return draw_panels(sample.picture, maps, self.study.labels, self.study.masks.name)


def analyze_boundaries(job: Job) -> Finding:
    """Measure what perfect boundaries would bring to high-resolution inference.

    Returns:
        ``metrics``: ``miou`` with the segments of k-means, ``topline_miou`` with the masks of the
        truth, both by class in ``iou`` and ``topline_iou``. The examples are the pictures that
        gain the largest share of their pixels.

    Raises:
        ConfigError: If another mode than ``highres`` is asked for.
        DataError: If the data cannot be read or no picture can be used.
    """
    study, mode = open_study(job), _high_res(job)
    topline = _Topline(study, job_segmenter(job, study.labels, mode))
    found, perfect = Tally(len(study.labels)), Tally(len(study.labels))
    for sample in study.samples():
        for tally, label_map in zip((found, perfect), topline.both(sample), strict=True):
            tally.add(sample, label_map)
    metrics: dict[str, Metric] = {"miou": found.miou(), "topline_miou": perfect.miou()}
    metrics |= {"iou": found.iou(study.labels), "topline_iou": perfect.iou(study.labels)}
    ci = {"miou": found.interval(), "topline_miou": perfect.interval()}
    report = study.report("boundaries", len(found), metrics, ci, mode.settings(job.encoder))
    gains = (perfect.accuracies() - found.accuracies()).tolist()
    shows = "pixel accuracy that the masks of the truth add"
    examples = [
        Example(
            found.items[position].image.name,
            shows,
            gains[position],
            partial(topline.draw, found.items[position]),
        )
        for position in strongest(gains, _NUM_EXAMPLES)
    ]
    return Finding(report, {}, examples)


def _high_res(job: Job) -> Mode:
    options = job.options
    if options.mode is None and options.protocol is None:
        job = replace(job, options=replace(options, mode="highres"))
    mode = chosen_mode(job)
    if "num_clusters" not in mode.settings(job.encoder):
        raise ConfigError(
            "The masks take the place of the segments of k-means: leave mode and protocol out."
        )
    return mode
