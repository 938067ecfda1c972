"""The embeddings of a patch, compared (dino.txt, appendix B, Table 8).

Beside the table's four stands ``backbone``, the frozen patches that DINOv3's notebook scores.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

from PIL import Image

from dinotxt.data.readers import MaskedImage
from dinotxt.errors import ConfigError
from dinotxt.evaluation.analysis.drawing import IndexMap, draw_panels
from dinotxt.evaluation.analysis.labelling import best_labels
from dinotxt.evaluation.analysis.study import (
    Example,
    Finding,
    Study,
    Tally,
    open_study,
    strongest,
)
from dinotxt.evaluation.job import Job
from dinotxt.evaluation.segmentation import job_labels, job_segmenter
from dinotxt.inference.segmenter import Segmenter
from dinotxt.models.config import Embedding
from dinotxt.results.report import Metric

_NUM_EXAMPLES = 3


@dataclass(frozen=True, slots=True, eq=False)
class _Comparison:
    study: Study
    looks: dict[Embedding, Segmenter]

    def draw(self, item: MaskedImage) -> Image.Image:
        """Draw picture, truth and the label map of each embedding."""
        sample = self.study.open(item)
        maps: dict[str, IndexMap] = {"truth": sample.truth}
        for name, look in self.looks.items():
            maps[name] = best_labels(look.score_map(sample.picture), sample.picture)
        return draw_panels(sample.picture, maps, self.study.labels, self.study.masks.name)


def analyze_embeddings(job: Job) -> Finding:
    """Measure each embedding of a patch that the model has.

    Returns:
        ``metrics``: ``miou`` by embedding (NaN for those that the model does not have; ``missing``
        in the details says why). The examples are pictures where an embedding is furthest behind
        the best one.

    Raises:
        ConfigError: If the model has but one embedding.
        DataError: If the data cannot be read or no picture can be used.
    """
    study = open_study(job)
    looks, missing = _segmenters(job, study)
    tallies = {name: Tally(len(study.labels)) for name in looks}
    for sample in study.samples():
        for name, look in looks.items():
            found = best_labels(look.score_map(sample.picture), sample.picture)
            tallies[name].add(sample, found)
    num_pictures = len(next(iter(tallies.values())))
    metrics: dict[str, Metric] = {
        "miou": {
            name: tallies[name].miou() if name in tallies else float("nan")
            for name in get_args(Embedding)
        }
    }
    metrics |= {f"iou_{name}": tally.iou(study.labels) for name, tally in tallies.items()}
    ci = {f"miou_{name}": tally.interval() for name, tally in tallies.items()}
    settings = {**next(iter(looks.values())).mode.settings(job.encoder), "embedding": list(looks)}
    report = study.report("embeddings", num_pictures, metrics, ci, settings)
    comparison = _Comparison(study, looks)
    return Finding(report, {"missing": missing}, _examples(comparison, tallies))


def _segmenters(job: Job, study: Study) -> tuple[dict[Embedding, Segmenter], dict[str, str]]:
    looks: dict[Embedding, Segmenter] = {}
    missing: dict[str, str] = {}
    labels = job_labels(job, study.labels)
    for name in get_args(Embedding):
        options = replace(job.options, embedding=name)
        try:
            looks[name] = job_segmenter(replace(job, options=options), labels)
        except ConfigError as error:
            missing[name] = str(error)
    if len(looks) < 2:
        raise ConfigError(next(iter(missing.values())))
    return looks, missing


def _examples(comparison: _Comparison, tallies: dict[Embedding, Tally]) -> list[Example]:
    accuracies = {name: tally.accuracies() for name, tally in tallies.items()}
    examples = []
    for name, own in accuracies.items():
        behind = max((other - own for other in accuracies.values()), key=lambda gap: gap.max())
        items = tallies[name].items
        for position in strongest(behind.tolist(), 1):
            examples.append(
                Example(
                    items[position].image.name,
                    f"pixel accuracy by which {name} is behind the best embedding",
                    float(behind[position]),
                    partial(comparison.draw, items[position]),
                )
            )
    return sorted(examples, key=lambda example: -example.value)[:_NUM_EXAMPLES]
