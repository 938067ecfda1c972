"""Open-vocabulary segmentation (dino.txt, section 4.2): mean IoU over the whole data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.readers import IGNORED, MaskedImage, MaskSet
from dinotxt.errors import ConfigError, DataError
from dinotxt.evaluation.datasets import open_masks
from dinotxt.evaluation.job import Job, chosen_templates
from dinotxt.evaluation.ledger import Ledger, fingerprint, missing
from dinotxt.evaluation.names import Names, choose_names
from dinotxt.evaluation.protocols import AVERAGING, protocol_embedding, protocol_mode
from dinotxt.inference.dense import Mode, find_mode
from dinotxt.inference.features import LabelFeatures
from dinotxt.inference.segmenter import Segmenter
from dinotxt.metrics.bootstrap import miou_interval
from dinotxt.metrics.confusion import Confusion, iou, miou
from dinotxt.models.config import Embedding
from dinotxt.results.report import Report
from dinotxt.results.segmentation import Segmentation
from dinotxt.results.skip import Skip


def evaluate_segmentation(job: Job) -> Report:
    """Label every pixel of every picture and count over the whole data set.

    Raises:
        ConfigError: If the options do not fit the data.
        DataError: If the data cannot be read or no picture can be used.
    """
    found = open_masks(job.data, on_skip=job.skip)
    names = _names(job, found)
    labels = [names.names[index] for index in names.index]
    mode = chosen_mode(job)
    templates, templates_name = chosen_templates(job)
    items = job.options.take(sorted(found.items, key=lambda item: item.key))
    settings: dict[str, Any] = {
        "protocol": job.options.protocol,
        **mode.settings(job.encoder),
        "embedding": chosen_embedding(job) or "patch",
        "upsample": job.options.upsample,
        "background": job.options.background,
        "refine": job.options.refine,
        "interpolation": job.encoder.transform.config.interpolation,
        "templates": templates_name,
        "num_templates": len(templates),
        "classes": names.source,
        "num_classes": len(labels),
    }
    segment = job_segmenter(job, labels[1:] if found.background else labels, mode)
    counting = _Counting(job, found, items, segment)
    counts, usable = counting.run({**settings, "labels": labels})
    job.require(int(usable.sum()))
    return _report(job, counts[usable], labels, settings, found.name)


@dataclass(frozen=True, slots=True)
class _Counting:
    """The pass over the pictures."""

    job: Job
    found: MaskSet
    items: Sequence[MaskedImage]
    segment: Segmenter

    def run(self, settings: dict[str, Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return right, true and predicted pixels, ``[N, 3, C]``, and which pictures count."""
        identity = {
            "rows": "segmentation counts",
            **settings,
            "model": self.job.encoder.fingerprint,
            "transform": self.job.encoder.transform.fingerprint,
            "pictures": fingerprint(item.key for item in self.items),
        }
        ledger = Ledger(self.job.options.resume, identity)
        num = len(self.items)
        counts = np.zeros((num, 3, len(self.found.class_names)), dtype=np.int64)
        usable = np.zeros(num, dtype=bool)
        for positions, rows in ledger.rows():
            counts[positions], usable[positions] = rows, True
        left = missing(usable)
        try:
            for index, result in self.segment.segment_many(
                (self.items[position].image for position in left),
                num_workers=self.job.options.num_workers,
                on_skip=self.job.skip,
            ):
                position = left[index]
                one = self._count(self.items[position], result)
                if one is not None:
                    counts[position], usable[position] = one, True
                    ledger.add(np.array([position]), one[None])
                self.job.progress(num - len(left) + index + 1, num)
        finally:
            ledger.save()
        return counts, usable

    def _count(self, item: MaskedImage, result: Segmentation) -> NDArray[np.int64] | None:
        """Return the counts of a picture; None if its mask cannot be used, which is reported."""
        height, width = result.label_map.shape
        try:
            truth = self.found.truth(item, (width, height))
        except DataError as error:
            self.job.skip(Skip(item.image.name, str(error)))
            return None
        predicted = result.label_map.astype(np.int64)
        if self.found.background:
            unlabelled = np.iinfo(result.label_map.dtype).max
            predicted = np.where(predicted == unlabelled, 0, predicted + 1)
        confusion = Confusion(len(self.found.class_names), ignore=IGNORED)
        confusion.add(truth, predicted)
        return confusion.counts()


def job_labels(job: Job, labels: Sequence[str]) -> LabelFeatures:
    """Return classes with their features, by the templates and the averaging of a job."""
    encoder, embedding = job.encoder, chosen_embedding(job)
    if embedding is not None:
        encoder = encoder.with_embedding(embedding)
    average = AVERAGING[job.options.protocol]
    return encoder.encode_labels(labels, chosen_templates(job)[0], average=average)


def job_segmenter(
    job: Job, labels: Sequence[str] | LabelFeatures, mode: Mode | None = None
) -> Segmenter:
    """Return what segments by the settings of a job.

    Args:
        job: The model and the settings.
        labels: The classes, with their features if these are known.
        mode: How pictures are looked at; None: ``chosen_mode``.

    Raises:
        ConfigError: If the model has no such embedding, or a label is there twice.
    """
    options = job.options
    return Segmenter(
        job.encoder,
        labels if isinstance(labels, LabelFeatures) else job_labels(job, labels),
        mode=mode or chosen_mode(job),
        embedding=chosen_embedding(job),
        background=options.background,
        upsample=options.upsample,
        refine=options.refine,
        batch_size=options.batch_size or 8,
    )


def chosen_embedding(job: Job) -> Embedding | None:
    """Return what stands for a patch: what is asked for, or the protocol's; None: the model's."""
    return job.options.embedding or protocol_embedding(job.options.protocol, job.encoder)


def chosen_mode(job: Job) -> Mode:
    """Return how pictures are looked at."""
    options = job.options
    if options.protocol is not None:
        return protocol_mode(options.protocol, options.mode)
    if options.mode is None or isinstance(options.mode, str):
        defaults = job.encoder.defaults
        return find_mode(
            options.mode,
            defaults,
            size=options.size,
            stride=options.stride,
            crops=options.crops,
        )
    return options.mode


def _names(job: Job, found: MaskSet) -> Names:
    given = job.options.classes
    if given is None and job.options.protocol is not None and "mmseg" in found.variants:
        given = "mmseg"  # mmsegmentation's names, in TCL and in DINOv3's notebook
    if found.background and job.options.background is None:
        raise ConfigError(
            f"{job.data} counts its background: give --background T, the cosine that a pixel's "
            "best label must reach, or it is background."
        )
    if found.background and given is not None and given not in found.variants:
        raise ConfigError(
            f"{job.data} counts its background: its names are {', '.join(found.variants)}."
        )
    return choose_names(found.class_names, given, len(found.class_names), job.data, found.variants)


def _report(
    job: Job,
    counts: NDArray[np.int64],
    labels: Sequence[str],
    settings: dict[str, Any],
    dataset: str | None,
) -> Report:
    total = counts.sum(axis=0)
    right, true = total[0], total[1]
    protocol = {
        **settings,
        "absent_classes": [label for label, pixels in zip(labels, true, strict=True) if not pixels],
        "empty_masks": int((counts[:, 1].sum(axis=1) == 0).sum()),
        "ignored_value": IGNORED,
    }
    accuracy = float(right.sum() / true.sum()) if true.any() else float("nan")
    return job.report(
        len(counts),
        {
            "miou": float(miou(total)),
            "pixel_accuracy": accuracy,
            "iou": dict(zip(labels, iou(total).tolist(), strict=True)),
        },
        {"miou": miou_interval(counts)},
        protocol,
        dataset,
    )
