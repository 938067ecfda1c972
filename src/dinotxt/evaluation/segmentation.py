"""Open-vocabulary segmentation (dino.txt, section 4.2): mean IoU over the whole data set."""

from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinotxt.data.masks import IGNORED, MaskedImage, read_mask, read_masks
from dinotxt.errors import DataError
from dinotxt.evaluation.job import Job, chosen_templates
from dinotxt.evaluation.names import choose_names
from dinotxt.inference.dense import Mode
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.modes import find_mode
from dinotxt.inference.segmenter import HighRes, Segmenter, SlidingWindow
from dinotxt.metrics.bootstrap import miou_interval
from dinotxt.metrics.confusion import Confusion
from dinotxt.results.report import Report
from dinotxt.results.skip import Skip

_WINDOW = 448  # protocol of TCL: windows of 448 every 224 pixels


def evaluate_segmentation(job: Job) -> Report:
    """Label every pixel of every picture and count over the whole data set.

    Raises:
        DataError: If the data cannot be read or no picture can be used.
    """
    found = read_masks(job.data, on_skip=job.skip)
    num_classes = len(found.class_names)
    names = choose_names(found.class_names, job.options.classes, num_classes, job.data)
    labels = [names.names[index] for index in names.index]
    mode = chosen_mode(job)
    templates, templates_name = chosen_templates(job)
    segment = Segmenter(
        job.encoder,
        labels,
        mode=mode,
        templates=templates,
        background=job.options.background,
        upsample=job.options.upsample,
        batch_size=job.options.batch_size or 8,
    )
    items = job.options.take(sorted(found.items, key=lambda item: item.key))
    total, counts = _count(job, segment, items)
    job.require(len(counts))
    protocol: dict[str, Any] = {
        "protocol": job.options.protocol,
        **_mode_protocol(mode, job.encoder),
        "upsample": job.options.upsample,
        "background": job.options.background,
        "interpolation": job.encoder.transform.config.interpolation,
        "templates": templates_name,
        "num_templates": len(templates),
        "classes": names.source,
        "num_classes": num_classes,
        "absent_classes": [labels[index] for index in total.absent()],
        "ignored_value": IGNORED,
    }
    return job.report(
        len(counts),
        {
            "miou": total.miou(),
            "pixel_accuracy": total.pixel_accuracy(),
            "iou": dict(zip(labels, total.iou().tolist(), strict=True)),
        },
        {"miou": miou_interval(np.stack(counts))},
        protocol,
    )


def chosen_mode(job: Job) -> Mode:
    """Return how pictures are looked at."""
    options = job.options
    if options.protocol == "tcl":
        return SlidingWindow(_WINDOW, _WINDOW // 2)
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


def _count(
    job: Job, segment: Segmenter, items: Sequence[MaskedImage]
) -> tuple[Confusion, list[NDArray[np.int64]]]:
    """Return the confusion of the data set and the counts of each picture."""
    num_classes = len(segment.labels)
    total = Confusion(num_classes, ignore=IGNORED)
    counts = []
    for done, item in enumerate(items, start=1):
        try:
            label_map = segment(item.image).label_map
            height, width = label_map.shape
            truth = read_mask(item.mask, num_classes, size=(width, height))
        except DataError as error:
            job.skip(Skip(item.image.name, str(error)))
        else:
            one = Confusion(num_classes, ignore=IGNORED)
            one.add(truth, label_map)
            total.merge(one)
            counts.append(one.counts())
        job.progress(done, len(items))
    return total, counts


def _mode_protocol(mode: Mode, encoder: Encoder) -> dict[str, Any]:
    settings: dict[str, Any] = (
        asdict(mode) if is_dataclass(mode) and not isinstance(mode, type) else {}
    )
    if settings.get("size", 0) is None:
        settings["size"] = encoder.defaults.short_side or encoder.transform.config.size
    if isinstance(mode, HighRes):
        settings["visits"] = round(mode.visits, 2)
    return {"mode": type(mode).__name__, **settings}
